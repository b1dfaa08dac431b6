//! Sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::{ConnectError, Stream};
use crate::postgres::url::{Host, HostName};

/// A firewall that forgets the connection is noticed within half a minute.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(10))
    .with_interval(Duration::from_secs(5));

/// The host once for each of its addresses.
pub(super) async fn addresses(host: &Host) -> Result<Vec<Host>, ConnectError> {
    let HostName::Tcp(name) = &host.name else {
        return Ok(vec![host.clone()]);
    };
    if host.address.is_some() {
        return Ok(vec![host.clone()]);
    }
    let resolve = |source| ConnectError::Resolve {
        host: name.clone(),
        source,
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for found in tokio::net::lookup_host((name.as_str(), host.port))
        .await
        .map_err(resolve)?
    {
        if !addresses.contains(&found.ip()) {
            addresses.push(found.ip());
        }
    }
    Ok(addresses
        .into_iter()
        .map(|address| Host {
            address: Some(address),
            ..host.clone()
        })
        .collect())
}

/// Connects to a host whose address is known.
pub(super) async fn connect(host: &Host) -> Result<Box<dyn Stream>, ConnectError> {
    let failed = |source| ConnectError::Connect {
        host: host.to_string(),
        source,
    };
    match (&host.name, host.address) {
        (HostName::Socket(_), _) => {
            let stream = UnixStream::connect(host.to_string())
                .await
                .map_err(failed)?;
            Ok(Box::new(stream))
        }
        (HostName::Tcp(_), Some(address)) => {
            let stream = TcpStream::connect(SocketAddr::new(address, host.port))
                .await
                .map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            SockRef::from(&stream)
                .set_tcp_keepalive(&KEEPALIVE)
                .map_err(failed)?;
            Ok(Box::new(stream))
        }
        (HostName::Tcp(_), None) => Err(ConnectError::NoHost),
    }
}
