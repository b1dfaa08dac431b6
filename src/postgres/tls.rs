//! TLS with libpq's meanings of `sslmode` (manual, "SSL Support", "SSL Client Certificates").

mod certificate;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::url::{RootCertificates, SslMode, TlsSettings};
pub(super) use certificate::end_point_hash;
use verifier::{Verifier, Verify};

/// Why TLS could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A mode that verifies, and nothing to verify with.
    #[error(
        "root certificate file {0} does not exist: provide it, use the system's trusted roots with sslrootcert=system, or change sslmode"
    )]
    NoRoots(PathBuf),
    /// A file that cannot be read as PEM.
    #[error("cannot read {what} from {file}")]
    Read {
        /// `certificates` or `a private key`.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A private key that others may read.
    #[error(
        "private key {0} may be read by group or others; only its owner may (chmod 0600), or root with group read (0640)"
    )]
    KeyPermissions(PathBuf),
    /// rustls refuses the certificates, the key or the versions.
    #[error("TLS cannot be set up from {file}")]
    Setup {
        /// The file, or a word for what was refused.
        file: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The host of the URL cannot stand in a certificate.
    #[error("\"{0}\" is no host name that a certificate could hold")]
    Name(String),
}

const ALL_VERSIONS: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];
const ONLY_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Prepares TLS for one target. The provider is named here: a process-wide default could be
/// missing, or another.
///
/// # Errors
/// When a file is missing or malformed.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = verifier(settings, &provider)?;
    let versions = if settings.only_tls13 {
        ONLY_13
    } else {
        ALL_VERSIONS
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|source| TlsError::Setup {
            file: "ssl_min_protocol_version".into(),
            source,
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            check_permissions(key)?;
            let chain = certificates(certificate)?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read {
                what: "a private key",
                file: key.clone(),
                source,
            })?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|source| TlsError::Setup {
                    file: certificate.clone(),
                    source,
                })?
        }
    };
    config.enable_sni = settings.sni;
    if settings.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(Arc::new(config))
}

fn verifier(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    let algorithms = provider.signature_verification_algorithms;
    let verify = match settings.mode {
        SslMode::VerifyFull => Verify::ChainAndName,
        SslMode::VerifyCa => Verify::Chain,
        // As libpq: with a root certificate file at hand, `require` verifies the chain.
        SslMode::Require if has_roots(&settings.roots) => Verify::Chain,
        SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => Verify::Nothing,
    };
    if verify == Verify::Nothing {
        return Ok(Verifier::new(
            verify,
            RootCertStore::empty(),
            Vec::new(),
            algorithms,
        ));
    }
    let (roots, given) = roots(&settings.roots)?;
    Ok(Verifier::new(verify, roots, given, algorithms))
}

fn has_roots(roots: &RootCertificates) -> bool {
    match roots {
        RootCertificates::File(file) | RootCertificates::DefaultFile(file) => file.exists(),
        RootCertificates::System { .. } => true,
    }
}

/// The trusted authorities, and the certificates themselves: a server's self-signed certificate
/// may be its own root.
fn roots(
    from: &RootCertificates,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let mut store = RootCertStore::empty();
    let file = match from {
        RootCertificates::File(file) | RootCertificates::DefaultFile(file) => {
            if !file.exists() {
                return Err(TlsError::NoRoots(file.clone()));
            }
            Some(file.clone())
        }
        RootCertificates::System { file: Some(file) } => Some(file.clone()),
        RootCertificates::System { file: None } => SYSTEM_BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|file| file.exists()),
    };
    let Some(file) = file else {
        // An image built on nothing has no bundle: Mozilla's list is compiled in.
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok((store, Vec::new()));
    };
    let given = certificates(&file)?;
    // Some files hold authorities that webpki cannot read (X.509 version 1); the others still count.
    let (added, _) = store.add_parsable_certificates(given.iter().cloned());
    if added == 0 && given.is_empty() {
        return Err(TlsError::NoRoots(file));
    }
    Ok((store, given))
}

/// Where distributions keep the system's trusted roots.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read {
        what: "certificates",
        file: file.to_owned(),
        source,
    };
    CertificateDer::pem_file_iter(file)
        .map_err(read)?
        .collect::<Result<_, _>>()
        .map_err(read)
}

#[cfg(unix)]
fn check_permissions(key: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::MetadataExt;
    // Unreadable files get their error from the one who reads them.
    let Ok(metadata) = std::fs::metadata(key) else {
        return Ok(());
    };
    let allowed = if metadata.uid() == 0 { 0o640 } else { 0o600 };
    if metadata.mode() & 0o777 & !allowed & 0o077 == 0 {
        Ok(())
    } else {
        Err(TlsError::KeyPermissions(key.to_owned()))
    }
}
