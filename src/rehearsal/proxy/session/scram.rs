//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677; PostgreSQL manual, "SASL
//! Authentication"), for a password that lives as long as one rehearsal.
//!
//! Every driver speaks it, and the password never crosses the loopback interface, so that whoever
//! may read the traffic of the pod cannot enter the rehearsal. No I/O: messages in, messages out.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};

/// The mechanism's registered name.
pub(super) const MECHANISM: &[u8] = b"SCRAM-SHA-256";

/// RFC 7677 asks for at least this many, and some drivers refuse fewer.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

/// The password of one rehearsal, with what it takes to verify it.
#[derive(Clone)]
pub(crate) struct OneTimePassword {
    salt: [u8; 16],
    stored_key: Vec<u8>,
    server_key: hmac::Key,
}

impl OneTimePassword {
    /// Prepares to verify a password, salted with 128 random bits.
    #[must_use]
    pub(crate) fn of(password: &str, salt: [u8; 16]) -> Self {
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ITERATIONS,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let server_key = hmac::sign(&salted, b"Server Key");
        Self {
            salt,
            stored_key: hash(client_key.as_ref()),
            server_key: hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()),
        }
    }
}

impl fmt::Debug for OneTimePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimePassword(…)")
    }
}

/// Why an exchange was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A message that is not laid out as RFC 5802 says, or asks for what was not offered.
    Malformed,
    /// The proof does not belong to the password.
    WrongPassword,
}

/// An exchange that waits for the client's proof.
pub(super) struct Challenged {
    /// What the channel binding of the last message must repeat.
    gs2_header: String,
    /// The nonce of both sides.
    nonce: String,
    /// The first two messages as they enter the signature.
    transcript: String,
    challenge: String,
}

impl Challenged {
    /// Reads the client's first message and answers it; `nonce` is our part of the nonce.
    pub(super) fn new(
        first: &[u8],
        nonce: [u8; 18],
        password: &OneTimePassword,
    ) -> Result<Self, Refused> {
        let first = std::str::from_utf8(first).map_err(|_| Refused::Malformed)?;
        // `n`: no channel binding. `y`: the client could, but thinks that we cannot, which is so.
        let mut parts = first.splitn(3, ',');
        let (Some("n" | "y"), Some(authzid), Some(bare)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::Malformed);
        };
        let gs2_header = first[..first.len() - bare.len()].to_owned();
        let theirs = bare
            .split(',')
            .find_map(|attribute| attribute.strip_prefix("r="))
            .filter(|nonce| !nonce.is_empty() && authzid.is_empty())
            .ok_or(Refused::Malformed)?;
        let nonce = format!("{theirs}{}", BASE64.encode(nonce));
        let salt = BASE64.encode(password.salt);
        let challenge = format!("r={nonce},s={salt},i={ITERATIONS}");
        Ok(Self {
            gs2_header,
            transcript: format!("{bare},{challenge}"),
            nonce,
            challenge,
        })
    }

    /// The data of AuthenticationSASLContinue.
    pub(super) fn challenge(&self) -> &[u8] {
        self.challenge.as_bytes()
    }

    /// Verifies the client's proof; the data of AuthenticationSASLFinal.
    pub(super) fn verify(
        &self,
        last: &[u8],
        password: &OneTimePassword,
    ) -> Result<Vec<u8>, Refused> {
        let last = std::str::from_utf8(last).map_err(|_| Refused::Malformed)?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or(Refused::Malformed)?;
        let expected = format!("c={},r={}", BASE64.encode(&self.gs2_header), self.nonce);
        if without_proof != expected {
            return Err(Refused::Malformed);
        }
        let proof = BASE64.decode(proof).map_err(|_| Refused::Malformed)?;
        let message = format!("{},{without_proof}", self.transcript);
        let stored_key = hmac::Key::new(hmac::HMAC_SHA256, &password.stored_key);
        let signature = hmac::sign(&stored_key, message.as_bytes());
        if proof.len() != signature.as_ref().len() {
            return Err(Refused::Malformed);
        }
        let client_key: Vec<u8> = proof
            .iter()
            .zip(signature.as_ref())
            .map(|(proof, signature)| proof ^ signature)
            .collect();
        // Hashes are compared, so the time that it takes tells nothing about the key.
        if hash(&client_key) != password.stored_key {
            return Err(Refused::WrongPassword);
        }
        let ours = hmac::sign(&password.server_key, message.as_bytes());
        Ok(format!("v={}", BASE64.encode(ours.as_ref())).into_bytes())
    }
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

    use super::*;

    fn exchange(password: &OneTimePassword, given: &str) -> Result<(), Refused> {
        let mut client = ScramSha256::new(given.as_bytes(), ChannelBinding::unsupported());
        let challenged = Challenged::new(client.message(), [7; 18], password)?;
        client.update(challenged.challenge()).unwrap();
        let last = challenged.verify(client.message(), password)?;
        client.finish(&last).unwrap();
        Ok(())
    }

    #[test]
    fn the_right_password_is_let_in_and_gets_our_signature() {
        let password = OneTimePassword::of("right", [2; 16]);
        assert_eq!(exchange(&password, "right"), Ok(()));
    }

    #[test]
    fn a_wrong_password_is_refused() {
        let password = OneTimePassword::of("right", [2; 16]);
        assert_eq!(exchange(&password, "guess"), Err(Refused::WrongPassword));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let password = OneTimePassword::of("right", [2; 16]);
        for first in [
            "",
            "n",
            "p=tls-server-end-point,,n=,r=a",
            "n,,n=",
            "n,,n=,r=",
            "n,a=x,r=y",
        ] {
            assert_eq!(
                Challenged::new(first.as_bytes(), [0; 18], &password).err(),
                Some(Refused::Malformed),
                "{first}"
            );
        }
        let challenged = Challenged::new(b"n,,n=,r=a", [0; 18], &password).unwrap();
        for last in ["", "c=biws,r=other,p=AA==", "c=biws", "p=,p="] {
            assert_eq!(
                challenged.verify(last.as_bytes(), &password),
                Err(Refused::Malformed),
                "{last}"
            );
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let password = OneTimePassword::of("right", [2; 16]);
        assert_eq!(format!("{password:?}"), "OneTimePassword(…)");
    }
}
