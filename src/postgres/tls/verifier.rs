//! What is verified about the server's certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate;

/// How much is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// Only that the server holds the certificate's key.
    Nothing,
    /// And that an authority of ours vouches for it.
    Chain,
    /// And that it is for this host.
    ChainAndName,
}

#[derive(Debug)]
pub(super) struct Verifier {
    verify: Verify,
    roots: RootCertStore,
    given: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(
        verify: Verify,
        roots: RootCertStore,
        given: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            verify,
            roots,
            given,
            algorithms,
        }
    }

    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // PostgreSQL's manual shows how to make a self-signed certificate and use it as root.crt;
        // webpki refuses an authority as a server's certificate.
        if self.given.iter().any(|given| given == end_entity) {
            return certificate::check_validity(end_entity, now);
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify != Verify::Nothing {
            self.verify_chain(end_entity, intermediates, now)?;
        }
        if self.verify == Verify::ChainAndName {
            match certificate::common_name_without_alternatives(end_entity) {
                // As libpq: the common name counts only when there is no alternative name.
                Some(name) => {
                    if !certificate::name_matches(&name, &server_name.to_str()) {
                        return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
                    }
                }
                None => verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?,
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
