//! Objects of the names that the controller uses, but of somebody else.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::ControllerError;
use crate::api::{LABEL_MIGRATION, Migration, reason};
use crate::operator::pipeline::Problem;
use crate::operator::resources::is_owned;

/// Who has the name under which an object could not be created; `None` when it is the Migration's
/// own object, or gone again.
pub(super) async fn has_name<K>(
    objects: Api<K>,
    name: &str,
    migration: &Migration,
) -> Result<Option<Problem>, ControllerError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let found = objects
        .get_metadata_opt(name)
        .await
        .map_err(|source| ControllerError::Read {
            what: "the object that has a name already",
            source,
        })?;
    // An object of ours without its label is never seen again.
    let ours = |object: &ObjectMeta| {
        let labels = object.labels.as_ref();
        is_owned(object, migration)
            && labels.and_then(|labels| labels.get(LABEL_MIGRATION)) == Some(&migration.name_any())
    };
    Ok(found
        .filter(|found| !ours(&found.metadata))
        .map(|_| Problem {
            reason: reason::NAME_TAKEN,
            message: format!(
                "the {} {name} exists already and is not this Migration's; delete it if nobody needs it",
                K::kind(&())
            ),
        }))
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, Response};
    use k8s_openapi::api::batch::v1::Job;
    use kube::Client;
    use kube::client::Body;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::fixture::migration;
    use super::*;

    /// The Job that has the name, as far as it matters here.
    fn found(uid: &str, migration: &str) -> Value {
        let owner = json!({"apiVersion": "v", "kind": "k", "name": "orders", "uid": uid});
        json!({"metadata": {
            "name": "j", "labels": {LABEL_MIGRATION: migration}, "ownerReferences": [owner],
        }})
    }

    #[rstest]
    #[case::ours(200, found("m-1", "orders"), false)]
    #[case::of_an_earlier_migration_of_this_name(200, found("m-0", "orders"), true)]
    #[case::ours_but_without_its_label(200, found("m-1", "other"), true)]
    #[case::nobodys(200, json!({"metadata": {"name": "j"}}), true)]
    #[case::gone_again(404, json!({"kind": "Status", "code": 404, "reason": "NotFound"}), false)]
    #[tokio::test]
    async fn an_object_that_has_the_name_is_ours_or_a_strangers(
        #[case] code: u16,
        #[case] answer: Value,
        #[case] foreign: bool,
    ) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            let (_, reply) = handle.next_request().await.unwrap();
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            reply.send_response(Response::builder().status(code).body(body).unwrap());
        });
        let jobs = Api::<Job>::namespaced(Client::new(service, "shop"), "shop");
        let problem = has_name(jobs, "j", &migration()).await.unwrap();
        assert_eq!(problem.is_some(), foreign);
        if let Some(problem) = problem {
            assert_eq!(problem.reason, reason::NAME_TAKEN);
            assert!(problem.message.starts_with("the Job j exists already"));
        }
    }
}
