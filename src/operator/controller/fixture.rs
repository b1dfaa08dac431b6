//! What the controller's own tests begin with.

use crate::api::{Migration, from_yaml};

/// The Migration `orders` in the namespace `shop`, as it was just created.
pub(super) fn migration() -> Migration {
    let spec = from_yaml(
        "{image: 'registry.example/orders:v2', alembic: {}, \
          database: {urlFrom: {secretKeyRef: {name: orders-db, key: url}}}}",
    )
    .unwrap();
    let mut migration = Migration::new("orders", spec);
    migration.metadata.namespace = Some("shop".into());
    migration.metadata.uid = Some("m-1".into());
    migration
}
