//! A network between a client and a server that can fail.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes on what comes, until it is told not to.
pub(crate) struct Relay {
    port: u16,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    connections: Mutex<Vec<TcpStream>>,
    refuses: AtomicBool,
}

impl Relay {
    /// Listens on a free port.
    pub(crate) fn to(host: &str, port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let network = Arc::new(Network::default());
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            network: Arc::clone(&network),
        };
        let server = (host.to_owned(), port);
        // It ends with the test program.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if network.refuses.load(Ordering::SeqCst) {
                    continue;
                }
                if let Ok(server) = TcpStream::connect((server.0.as_str(), server.1)) {
                    network.join(client, server);
                }
            }
        });
        relay
    }

    /// The same URL by way of the relay.
    pub(crate) fn url(&self, url: &str) -> String {
        let (login, rest) = url.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{login}@127.0.0.1:{}/{database}", self.port)
    }

    /// Closes every connection, to both sides.
    pub(crate) fn cut(&self) {
        for stream in self.network.connections.lock().unwrap().drain(..) {
            // The other side may have gone before.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Closes every connection and accepts no other.
    pub(crate) fn close(&self) {
        self.network.refuses.store(true, Ordering::SeqCst);
        self.cut();
    }
}

impl Network {
    fn join(&self, client: TcpStream, server: TcpStream) {
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        self.connections.lock().unwrap().extend([client, server]);
    }
}
