//! The volumes of a run's pod.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath,
    ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};

use crate::api::{MigrationSpec, pod};

/// An empty volume.
pub(super) fn empty(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// The stored report of the dry run.
pub(super) fn evidence(config_map: &str) -> Volume {
    Volume {
        name: pod::EVIDENCE_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Certificates under the names of [`pod::TLS_CA`], [`pod::TLS_CERT`] and [`pod::TLS_KEY`].
pub(super) fn certificates(spec: &MigrationSpec) -> Option<Volume> {
    let tls = spec.database.tls.as_ref()?;
    let file = |key: &str, path: &str| KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        mode: None,
    };
    let mut sources = Vec::new();
    if let Some(ca) = &tls.ca_from {
        if let Some(secret) = &ca.secret_key_ref {
            sources.push(VolumeProjection {
                secret: Some(SecretProjection {
                    name: secret.name.clone(),
                    items: Some(vec![file(&secret.key, "ca.crt")]),
                    optional: None,
                }),
                ..VolumeProjection::default()
            });
        }
        if let Some(map) = &ca.config_map_key_ref {
            sources.push(VolumeProjection {
                config_map: Some(ConfigMapProjection {
                    name: map.name.clone(),
                    items: Some(vec![file(&map.key, "ca.crt")]),
                    optional: None,
                }),
                ..VolumeProjection::default()
            });
        }
    }
    if let Some(cert) = &tls.cert_from {
        sources.push(VolumeProjection {
            secret: Some(SecretProjection {
                name: cert.secret_name.clone(),
                items: Some(vec![file("tls.crt", "tls.crt"), file("tls.key", "tls.key")]),
                optional: None,
            }),
            ..VolumeProjection::default()
        });
    }
    (!sources.is_empty()).then(|| Volume {
        name: pod::TLS_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(sources),
            default_mode: None,
        }),
        ..Volume::default()
    })
}

/// One mount.
pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
