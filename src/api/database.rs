//! Where the database is, and how the command is told.

#![allow(unreachable_pub)] // KubeSchema writes `pub` items into function bodies

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::DEFAULT_EXPOSED_URL;

/// The name of an environment variable.
pub(super) const VARIABLE_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// The database of a migration: one URL, or its parts.
///
/// Passwords are only ever referred to. The controller never reads a Secret; the kubelet puts the
/// values into drydock's own containers.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("has(self.urlFrom) != has(self.host)")
        .message("give the database in exactly one way: urlFrom, or host with port, name, user and passwordFrom"),
    validation = kube::core::Rule::new(
        "has(self.host) || !(has(self.port) || has(self.name) || has(self.user) || has(self.passwordFrom))"
    ).message("port, name, user and passwordFrom need host"),
    validation = kube::core::Rule::new("!has(self.host) || (has(self.name) && has(self.user))")
        .message("host needs name and user"),
)]
pub struct DatabaseSpec {
    /// The Secret key that holds the URL, in any dialect that the command reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<SecretSource>,
    /// Host name, address, or a comma-separated list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub host: Option<String>,
    /// Default: 5432.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The database's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// The role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub user: Option<String>,
    /// The Secret key that holds the role's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_from: Option<SecretSource>,
    /// The Secret key that holds a URL which bypasses a connection pooler. Both runs use it in place
    /// of the address above: neither a rehearsal nor an advisory lock works through a pooler in
    /// transaction mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_url_from: Option<SecretSource>,
    /// Certificates for drydock's own connections. The command gets its own through `template`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DatabaseTls>,
    /// The variables in which the command looks for the database. Default: `{url: DATABASE_URL}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose_as: Option<ExposeAs>,
}

/// A value in a Secret.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// Which Secret in the Migration's namespace, and which key in it.
    pub secret_key_ref: SecretKey,
}

/// One key of a Secret.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// One key of a ConfigMap.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// The ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What drydock's connections check the server with, and identify themselves with.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseTls {
    /// The certificate authorities (PEM): libpq's `sslrootcert`. The server is verified with them:
    /// where the URL says no `sslmode`, and for a database in parts, it is then `verify-full`, which
    /// libpq itself does not choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<CaSource>,
    /// A client certificate: libpq's `sslcert` and `sslkey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_from: Option<CertSource>,
}

/// Where certificate authorities are kept.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = kube::core::Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
        .message("give exactly one of secretKeyRef and configMapKeyRef"),
)]
pub struct CaSource {
    /// In a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKey>,
    /// In a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKey>,
}

/// A client certificate with its key.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertSource {
    /// The name of a Secret of type `kubernetes.io/tls`.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// Names of environment variables that the command reads.
#[derive(JsonSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposeAs {
    /// The whole URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = VARIABLE_PATTERN))]
    pub url: Option<String>,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = VARIABLE_PATTERN))]
    pub host: Option<String>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = VARIABLE_PATTERN))]
    pub port: Option<String>,
    /// The database's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = VARIABLE_PATTERN))]
    pub name: Option<String>,
    /// The role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = VARIABLE_PATTERN))]
    pub user: Option<String>,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = VARIABLE_PATTERN))]
    pub password: Option<String>,
}

impl DatabaseSpec {
    /// True when nothing is said, as in a local file, where the address comes from elsewhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The variables in which the command looks for the database: `exposeAs`, or `DATABASE_URL`.
    #[must_use]
    pub fn exposed(&self) -> ExposeAs {
        match &self.expose_as {
            Some(given) if *given != ExposeAs::default() => given.clone(),
            _ => ExposeAs {
                url: Some(DEFAULT_EXPOSED_URL.to_owned()),
                ..ExposeAs::default()
            },
        }
    }

    /// The Secret key whose URL drydock itself connects to; `None` when the address is given in
    /// parts.
    #[must_use]
    pub fn connects_to(&self) -> Option<&SecretKey> {
        self.direct_url_from
            .as_ref()
            .or(self.url_from.as_ref())
            .map(|source| &source.secret_key_ref)
    }
}

impl ExposeAs {
    /// Every variable that is named.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        [
            &self.url,
            &self.host,
            &self.port,
            &self.name,
            &self.user,
            &self.password,
        ]
        .into_iter()
        .filter_map(|name| name.as_deref())
    }
}
