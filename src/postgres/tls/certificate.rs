//! Reading single facts out of a certificate.

use std::time::Duration;

use rustls::{CertificateError, Error};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;

/// Signature algorithms whose hash is SHA-256, or whose weaker hash RFC 5929 replaces by it:
/// MD5 and SHA-1 with RSA, SHA-1 with ECDSA, SHA-256 with RSA and ECDSA.
const HASHED_BY_SHA256: &[&str] = &[
    "1.2.840.113549.1.1.4",
    "1.2.840.113549.1.1.5",
    "1.2.840.10045.4.1",
    "1.2.840.113549.1.1.11",
    "1.2.840.10045.4.3.2",
];
const HASHED_BY_SHA384: &[&str] = &["1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"];
const HASHED_BY_SHA512: &[&str] = &["1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"];

/// Channel binding data of type `tls-server-end-point` (RFC 5929, 4.1). `None` where the standard
/// defines none, as for Ed25519.
pub(in crate::postgres) fn end_point_hash(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    let algorithm = certificate.signature_algorithm.oid;
    let is = |list: &[&str]| {
        list.iter()
            .any(|oid| ObjectIdentifier::new(oid).ok() == Some(algorithm))
    };
    if is(HASHED_BY_SHA256) {
        Some(Sha256::digest(der).to_vec())
    } else if is(HASHED_BY_SHA384) {
        Some(Sha384::digest(der).to_vec())
    } else if is(HASHED_BY_SHA512) {
        Some(Sha512::digest(der).to_vec())
    } else {
        None
    }
}

/// Whether the certificate is valid at this time.
pub(super) fn check_validity(der: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::from_der(der)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = certificate.tbs_certificate.validity;
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// The subject's common name, when the certificate has no alternative names.
pub(super) fn common_name_without_alternatives(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    if certificate
        .tbs_certificate
        .get::<SubjectAltName>()
        .is_ok_and(|found| found.is_some())
    {
        return None;
    }
    let common_name = ObjectIdentifier::new("2.5.4.3").ok()?;
    certificate
        .tbs_certificate
        .subject
        .0
        .iter()
        .flat_map(|part| part.0.iter())
        .find(|attribute| attribute.oid == common_name)
        .and_then(|attribute| std::str::from_utf8(attribute.value.value()).ok())
        .map(str::to_owned)
}

/// Whether a certificate's name stands for the host: equal without case, or with `*` for exactly
/// the first label (manual, "SSL Client Certificates").
pub(super) fn name_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) => {
            !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("db.example", "DB.example", true)]
    #[case("*.db.example", "a.db.example", true)]
    #[case("*.db.example", "a.b.db.example", false)]
    #[case("*.db.example", "db.example", false)]
    #[case("*.example", "a.example", false)]
    #[case("db.example", "db2.example", false)]
    fn a_star_stands_for_exactly_one_label(
        #[case] pattern: &str,
        #[case] host: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(name_matches(pattern, host), expected);
    }

    #[test]
    fn the_hash_for_channel_binding_follows_the_signature_algorithm() {
        for (algorithm, length) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::new(vec!["db".to_owned()])
                .unwrap()
                .self_signed(&key)
                .unwrap();
            assert_eq!(
                end_point_hash(certificate.der()).map(|hash| hash.len()),
                length
            );
        }
    }

    #[test]
    fn the_common_name_counts_only_without_alternative_names() {
        let certificate = |names: Vec<String>| {
            let mut params = rcgen::CertificateParams::new(names).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, "db.example");
            params
                .self_signed(&rcgen::KeyPair::generate().unwrap())
                .unwrap()
        };
        assert_eq!(
            common_name_without_alternatives(certificate(vec![]).der()),
            Some("db.example".to_owned())
        );
        assert_eq!(
            common_name_without_alternatives(certificate(vec!["x".to_owned()]).der()),
            None
        );
    }
}
