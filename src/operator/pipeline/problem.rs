//! Why a run's pod does not come up, in the kubelet's and the API server's words.

use crate::api::reason;

/// Something that keeps a pod from starting. It may go away by itself, or when a person mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A constant of [`crate::api::reason`].
    pub reason: &'static str,
    /// What the kubelet or the API server says.
    pub message: String,
}

impl Problem {
    /// From a waiting container's reason and message.
    ///
    /// The kubelet's reasons are listed nowhere but in its source (`pkg/kubelet/images/types.go`,
    /// `pkg/kubelet/kuberuntime/kuberuntime_container.go`). `None` for those of a normal start.
    #[must_use]
    pub fn of_container(waiting: &str, message: &str) -> Option<Self> {
        let reason = match waiting {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => reason::IMAGE_PULL_FAILED,
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError" => reason_of(message),
            _ => return None,
        };
        Some(Self {
            reason,
            message: message.to_owned(),
        })
    }

    /// From the event of a Job whose pod cannot be created (reason `FailedCreate`).
    #[must_use]
    pub fn of_failed_create(message: &str) -> Self {
        let reason = if message.contains("exceeded quota") || message.contains("failed quota") {
            reason::QUOTA_EXCEEDED
        } else {
            reason::POD_FORBIDDEN
        };
        Self {
            reason,
            message: message
                .strip_prefix("Error creating: ")
                .unwrap_or(message)
                .to_owned(),
        }
    }

    /// From the event of a pod whose containers cannot be begun with: its volumes, its sandbox or its
    /// network are not there.
    #[must_use]
    pub fn of_silent_pod(message: &str) -> Self {
        Self {
            reason: reason_of(message),
            message: message.to_owned(),
        }
    }

    pub(super) fn unschedulable(message: &str) -> Self {
        Self {
            reason: reason::UNSCHEDULABLE,
            message: message.to_owned(),
        }
    }
}

fn reason_of(message: &str) -> &'static str {
    let says = |text: &str| message.contains(text);
    let lacks = |kind: &str, key: &str| {
        (says(kind) && says("not found")) || (says("couldn't find key") && says(key))
    };
    if lacks("secret \"", " in Secret ") || says("references non-existent secret key") {
        reason::SECRET_NOT_FOUND
    } else if lacks("configmap \"", " in ConfigMap ") || says("references non-existent config key")
    {
        reason::CONFIG_MAP_NOT_FOUND
    } else if says("runAsNonRoot") || says("non-root policy") || says("will run as root") {
        reason::RUN_AS_ROOT
    } else {
        reason::CONTAINER_NOT_STARTED
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "CreateContainerConfigError",
        "secret \"orders-db\" not found",
        "SecretNotFound"
    )]
    #[case(
        "CreateContainerConfigError",
        "couldn't find key url in Secret shop/orders-db",
        "SecretNotFound"
    )]
    #[case(
        "CreateContainerConfigError",
        "configmap \"c\" not found",
        "ConfigMapNotFound"
    )]
    #[case(
        "CreateContainerConfigError",
        "couldn't find key k in ConfigMap shop/c",
        "ConfigMapNotFound"
    )]
    #[case(
        "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root (pod: \"p\", container: migration)",
        "RunAsRoot"
    )]
    #[case(
        "CreateContainerConfigError",
        "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root",
        "RunAsRoot"
    )]
    #[case("ErrImagePull", "not found", "ImagePullFailed")]
    #[case("ImagePullBackOff", "Back-off pulling image", "ImagePullFailed")]
    #[case("InvalidImageName", "", "ImagePullFailed")]
    #[case("CreateContainerError", "no such device", "ContainerNotStarted")]
    fn a_waiting_container_is_read_for_its_cause(
        #[case] waiting: &str,
        #[case] message: &str,
        #[case] expected: &str,
    ) {
        let problem = Problem::of_container(waiting, message).unwrap();
        assert_eq!(problem.reason, expected);
        assert_eq!(problem.message, message);
    }

    #[rstest]
    #[case("ContainerCreating")]
    #[case("PodInitializing")]
    #[case("")]
    fn a_normal_start_is_no_problem(#[case] waiting: &str) {
        assert_eq!(Problem::of_container(waiting, ""), None);
    }

    #[rstest]
    #[case(
        "Error creating: pods \"o-1\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1",
        "QuotaExceeded"
    )]
    #[case(
        "Error creating: pods \"o-1\" is forbidden: failed quota: q: must specify limits.cpu for: migration",
        "QuotaExceeded"
    )]
    #[case(
        "Error creating: pods \"o-1\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
        "PodForbidden"
    )]
    fn a_pod_that_may_not_be_created_says_why(#[case] message: &str, #[case] expected: &str) {
        let problem = Problem::of_failed_create(message);
        assert_eq!(problem.reason, expected);
        assert!(problem.message.starts_with("pods \"o-1\" is forbidden"));
    }
}
