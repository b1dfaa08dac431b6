//! Who else keeps a Migration as it is.

use std::fmt;

use kube::ResourceExt;

use crate::api::Migration;

/// A tool that would undo, or be undone by, what `drydock wait --apply` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A Helm release.
    Helm,
    /// Argo CD.
    ArgoCd,
    /// Flux.
    Flux,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Helm => "a Helm release",
            Self::ArgoCd => "Argo CD",
            Self::Flux => "Flux",
        })
    }
}

impl Owner {
    /// Reads the marks that the tools leave: labels, annotations, field managers.
    #[must_use]
    pub fn of(migration: &Migration) -> Option<Self> {
        let labels = migration.labels();
        let annotations = migration.annotations();
        let manager = |names: &[&str]| {
            migration
                .managed_fields()
                .iter()
                .filter_map(|entry| entry.manager.as_deref())
                .any(|manager| names.contains(&manager))
        };
        if labels.contains_key("kustomize.toolkit.fluxcd.io/name")
            || labels.contains_key("helm.toolkit.fluxcd.io/name")
            || manager(&["kustomize-controller", "helm-controller"])
        {
            return Some(Self::Flux);
        }
        if labels.contains_key("argocd.argoproj.io/instance")
            || annotations.contains_key("argocd.argoproj.io/tracking-id")
            || manager(&["argocd-controller", "argocd-application-controller"])
        {
            return Some(Self::ArgoCd);
        }
        let helm = labels
            .get("app.kubernetes.io/managed-by")
            .is_some_and(|by| by == "Helm")
            || annotations.contains_key("meta.helm.sh/release-name")
            || manager(&["helm"]);
        helm.then_some(Self::Helm)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use rstest::rstest;

    use super::*;
    use crate::api::MigrationSpec;

    fn migration() -> Migration {
        Migration::new("orders", MigrationSpec::default())
    }

    #[rstest]
    #[case("app.kubernetes.io/managed-by", "Helm", Some(Owner::Helm))]
    #[case("app.kubernetes.io/managed-by", "drydock", None)]
    #[case("kustomize.toolkit.fluxcd.io/name", "apps", Some(Owner::Flux))]
    #[case("argocd.argoproj.io/instance", "shop", Some(Owner::ArgoCd))]
    fn labels_tell_the_owner(
        #[case] label: &str,
        #[case] value: &str,
        #[case] owner: Option<Owner>,
    ) {
        let mut migration = migration();
        migration.labels_mut().insert(label.into(), value.into());
        assert_eq!(Owner::of(&migration), owner);
    }

    #[rstest]
    #[case("meta.helm.sh/release-name", Owner::Helm)]
    #[case("argocd.argoproj.io/tracking-id", Owner::ArgoCd)]
    fn annotations_tell_the_owner(#[case] annotation: &str, #[case] owner: Owner) {
        let mut migration = migration();
        migration
            .annotations_mut()
            .insert(annotation.into(), "x".into());
        assert_eq!(Owner::of(&migration), Some(owner));
    }

    #[rstest]
    #[case("helm", Some(Owner::Helm))]
    #[case("argocd-controller", Some(Owner::ArgoCd))]
    #[case("kustomize-controller", Some(Owner::Flux))]
    #[case("kubectl-client-side-apply", None)]
    #[case("drydock-wait", None)]
    fn field_managers_tell_the_owner(#[case] manager: &str, #[case] owner: Option<Owner>) {
        let mut migration = migration();
        migration.managed_fields_mut().push(ManagedFieldsEntry {
            manager: Some(manager.into()),
            ..ManagedFieldsEntry::default()
        });
        assert_eq!(Owner::of(&migration), owner);
    }
}
