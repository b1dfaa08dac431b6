//! Whether the pod template gives the command the very Secret that a dry run keeps from it.

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, KeyToPath, SecretEnvSource, SecretKeySelector, SecretProjection,
    SecretVolumeSource, Volume,
};

use super::database::{DatabaseSpec, SecretKey};
use super::migration::MigrationSpec;

/// Where the template lets the command read the database's credentials: `env PGPASSWORD`,
/// `envFrom orders-db`, `volume credentials`. With them the command can go around the rehearsal.
#[must_use]
pub fn exposed_credentials(spec: &MigrationSpec) -> Vec<String> {
    let Some(template) = &spec.template else {
        return Vec::new();
    };
    let secrets = secrets(&spec.database);
    let exposed = spec.database.exposed();
    let overridden: Vec<&str> = exposed.variables().collect();
    let mut places: Vec<String> = template
        .env
        .iter()
        .filter(|variable| !overridden.contains(&variable.name.as_str()))
        .filter(|variable| variable_holds(variable, &secrets))
        .map(|variable| format!("env {}", variable.name))
        .collect();
    places.extend(
        template
            .env_from
            .iter()
            .filter_map(|source| variables_hold(source, &secrets, &overridden))
            .map(|secret| format!("envFrom {secret}")),
    );
    let mounted = |volume: &&Volume| {
        let mut mounts = template.volume_mounts.iter();
        mounts.any(|mount| mount.name == volume.name)
    };
    places.extend(
        template
            .volumes
            .iter()
            .filter(mounted)
            .filter(|volume| volume_holds(volume, &secrets))
            .map(|volume| format!("volume {}", volume.name)),
    );
    places
}

fn secrets(database: &DatabaseSpec) -> Vec<&SecretKey> {
    [
        &database.url_from,
        &database.password_from,
        &database.direct_url_from,
    ]
    .into_iter()
    .flatten()
    .map(|source| &source.secret_key_ref)
    .collect()
}

fn variable_holds(variable: &EnvVar, secrets: &[&SecretKey]) -> bool {
    let Some(SecretKeySelector { name, key, .. }) = variable
        .value_from
        .as_ref()
        .and_then(|from| from.secret_key_ref.as_ref())
    else {
        return false;
    };
    secrets.iter().any(|it| it.name == *name && it.key == *key)
}

/// The Secret, unless drydock's own variables take the place of those with the credentials.
fn variables_hold(
    source: &EnvFromSource,
    secrets: &[&SecretKey],
    overridden: &[&str],
) -> Option<String> {
    let SecretEnvSource { name, .. } = source.secret_ref.as_ref()?;
    let prefix = source.prefix.as_deref().unwrap_or_default();
    secrets
        .iter()
        .filter(|it| it.name == *name)
        .any(|it| !overridden.contains(&format!("{prefix}{}", it.key).as_str()))
        .then(|| name.clone())
}

fn volume_holds(volume: &Volume, secrets: &[&SecretKey]) -> bool {
    let whole = volume.secret.iter().map(
        |SecretVolumeSource {
             secret_name, items, ..
         }| (secret_name.as_deref(), items),
    );
    let projected = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten())
        .filter_map(|source| source.secret.as_ref())
        .map(|SecretProjection { name, items, .. }| (Some(name.as_str()), items));
    whole.chain(projected).any(|(name, items)| {
        secrets
            .iter()
            .any(|it| name == Some(it.name.as_str()) && shows(items.as_deref(), &it.key))
    })
}

/// Without a selection a volume shows every key.
fn shows(items: Option<&[KeyToPath]>, key: &str) -> bool {
    items.is_none_or(|items| items.is_empty() || items.iter().any(|item| item.key == key))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::from_yaml;

    #[rstest]
    #[case::nothing("{}", &[])]
    #[case::another_key(
        "{env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: orders-db, key: token}}}]}",
        &[]
    )]
    #[case::a_variable(
        "{env: [{name: PRIMARY, valueFrom: {secretKeyRef: {name: orders-db, key: url}}}]}",
        &["env PRIMARY"]
    )]
    #[case::the_variable_that_is_overridden(
        "{env: [{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: orders-db, key: url}}}]}",
        &[]
    )]
    #[case::all_variables("{envFrom: [{secretRef: {name: orders-db}}]}", &["envFrom orders-db"])]
    #[case::all_variables_overridden(
        "{envFrom: [{secretRef: {name: upper-db}, prefix: DATABASE_}]}",
        &[]
    )]
    #[case::a_volume(
        "{volumes: [{name: db, secret: {secretName: orders-db}}], volumeMounts: [{name: db, mountPath: /db}]}",
        &["volume db"]
    )]
    #[case::not_mounted("{volumes: [{name: db, secret: {secretName: orders-db}}]}", &[])]
    #[case::other_items(
        "{volumes: [{name: db, secret: {secretName: orders-db, items: [{key: ca, path: ca}]}}], volumeMounts: [{name: db, mountPath: /db}]}",
        &[]
    )]
    #[case::projected(
        "{volumes: [{name: all, projected: {sources: [{secret: {name: orders-db}}]}}], volumeMounts: [{name: all, mountPath: /db}]}",
        &["volume all"]
    )]
    fn the_template_is_searched_for_the_databases_secret(
        #[case] template: &str,
        #[case] places: &[&str],
    ) {
        let spec: MigrationSpec = from_yaml(&format!(
            "{{image: 'orders:v1', alembic: {{}}, template: {template}, database: {{\
             urlFrom: {{secretKeyRef: {{name: orders-db, key: url}}}},\
             directUrlFrom: {{secretKeyRef: {{name: upper-db, key: URL}}}}}}}}"
        ))
        .unwrap();
        assert_eq!(exposed_credentials(&spec), places);
    }
}
