//! Proving who we are, and in SCRAM also that the server knows the password (manual, "SASL
//! Authentication"; RFC 5802, RFC 7677).

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use super::ConnectError;
use super::handshake::{Channel, Messages};
use crate::postgres::url::{ChannelBinding, Methods, Password, Target};

/// One authentication exchange.
pub(super) struct Exchange<'a> {
    user: &'a str,
    password: Option<&'a Password>,
    methods: Methods,
    binding: ChannelBinding,
    channel: Channel,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(target: &'a Target, channel: Channel) -> Self {
        Self {
            user: &target.user,
            password: target.password.as_ref(),
            methods: target.methods,
            binding: target.channel_binding,
            channel,
        }
    }

    pub(super) async fn run(self, messages: &mut Messages) -> Result<(), ConnectError> {
        let host = messages.host.clone();
        let refuse = |method, advice| {
            Err(ConnectError::Method {
                host: host.clone(),
                method,
                advice,
            })
        };
        let mut bound = false;
        match messages.next().await? {
            Message::AuthenticationOk if self.methods.none => {
                return self.check_binding(messages, bound);
            }
            Message::AuthenticationOk => {
                return refuse("no authentication", "require_auth does not allow that");
            }
            Message::AuthenticationCleartextPassword => {
                if !self.methods.cleartext {
                    return refuse(
                        "the password in clear text",
                        "let the server use scram-sha-256, or add require_auth=password to the URL, best with sslmode=verify-full",
                    );
                }
                let password = self.password(messages)?;
                send_password(messages, password.reveal().as_bytes()).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                if !self.methods.md5 {
                    return refuse(
                        "the password as MD5",
                        "let the server use scram-sha-256, or add require_auth=md5 to the URL",
                    );
                }
                let password = self.password(messages)?;
                let hash = md5_hash(
                    self.user.as_bytes(),
                    password.reveal().as_bytes(),
                    body.salt(),
                );
                send_password(messages, hash.as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => {
                if !self.methods.scram {
                    return refuse("scram-sha-256", "require_auth does not allow that");
                }
                bound = self.scram(messages, &body).await?;
            }
            Message::AuthenticationGss | Message::AuthenticationSspi => {
                return refuse(
                    "GSSAPI or SSPI",
                    "use a role with a SCRAM password or a client certificate",
                );
            }
            Message::ErrorResponse(body) => return Err(messages.refused(&body)),
            _ => return Err(messages.protocol("an unexpected message during authentication")),
        }
        match messages.next().await? {
            Message::AuthenticationOk => self.check_binding(messages, bound),
            Message::ErrorResponse(body) => Err(messages.refused(&body)),
            _ => Err(messages.protocol("an unexpected message during authentication")),
        }
    }

    fn check_binding(&self, messages: &Messages, bound: bool) -> Result<(), ConnectError> {
        if self.binding == ChannelBinding::Require && !bound {
            return Err(ConnectError::ChannelBinding {
                host: messages.host.clone(),
            });
        }
        Ok(())
    }

    fn password(&self, messages: &Messages) -> Result<&'a Password, ConnectError> {
        self.password.ok_or_else(|| ConnectError::NoPassword {
            host: messages.host.clone(),
        })
    }

    /// Runs SCRAM; says whether the channel was bound.
    async fn scram(
        &self,
        messages: &mut Messages,
        body: &AuthenticationSaslBody,
    ) -> Result<bool, ConnectError> {
        let (mut plain, mut plus) = (false, false);
        let mut mechanisms = body.mechanisms();
        while let Ok(Some(mechanism)) = mechanisms.next() {
            plain |= mechanism == SCRAM_SHA_256;
            plus |= mechanism == SCRAM_SHA_256_PLUS;
        }
        let end_point = match &self.channel {
            Channel::Tls { end_point } if self.binding != ChannelBinding::Disable => {
                end_point.clone()
            }
            Channel::Plain | Channel::Tls { .. } => None,
        };
        let password = self.password(messages)?;
        let (binding, mechanism, bound) = match end_point {
            Some(hash) if plus => (
                sasl::ChannelBinding::tls_server_end_point(hash),
                SCRAM_SHA_256_PLUS,
                true,
            ),
            _ if !plain || self.binding == ChannelBinding::Require => {
                return Err(ConnectError::ChannelBinding {
                    host: messages.host.clone(),
                });
            }
            // "I could, but you do not seem to": a server that does offer it then knows that
            // somebody in between took the offer away.
            Some(_) => (sasl::ChannelBinding::unrequested(), SCRAM_SHA_256, false),
            None => (sasl::ChannelBinding::unsupported(), SCRAM_SHA_256, false),
        };
        let mut scram = ScramSha256::new(password.reveal().as_bytes(), binding);
        let host = messages.host.clone();
        let invalid = |source| ConnectError::Scram {
            host: host.clone(),
            source,
        };

        let mut buffer = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut buffer)
            .map_err(invalid)?;
        messages.send(&buffer).await?;
        match messages.next().await? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(invalid)?
            }
            Message::ErrorResponse(body) => return Err(messages.refused(&body)),
            _ => return Err(messages.protocol("an unexpected message during SCRAM")),
        }
        buffer.clear();
        frontend::sasl_response(scram.message(), &mut buffer).map_err(invalid)?;
        messages.send(&buffer).await?;
        match messages.next().await? {
            Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(invalid)?,
            Message::ErrorResponse(body) => return Err(messages.refused(&body)),
            _ => return Err(messages.protocol("an unexpected message during SCRAM")),
        }
        Ok(bound)
    }
}

async fn send_password(messages: &mut Messages, password: &[u8]) -> Result<(), ConnectError> {
    let mut buffer = BytesMut::new();
    frontend::password_message(password, &mut buffer)
        .map_err(|_| messages.protocol("a NUL in the password"))?;
    messages.send(&buffer).await
}
