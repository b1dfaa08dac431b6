//! A wire to a server that replaces text on its way by other text of the same length, so that a
//! layer of safety can be taken away from outside, without a switch for it in the product.
//!
//! A text must not be cut by a read; what is replaced here is sent in one write each time.

#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Where a text is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToUs,
}

/// One replacement.
#[derive(Debug, Clone)]
pub(crate) struct Swap {
    way: Way,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Swap {
    /// `to` must not be longer; it is filled up with blanks.
    pub(crate) fn new(way: Way, from: &str, to: &str) -> Self {
        assert!(to.len() <= from.len(), "{to} is longer than {from}");
        let to = format!("{to:width$}", width = from.len());
        Self::bytes(way, from.as_bytes(), to.as_bytes())
    }

    pub(crate) fn bytes(way: Way, from: &[u8], to: &[u8]) -> Self {
        assert_eq!(from.len(), to.len());
        Self {
            way,
            from: from.to_vec(),
            to: to.to_vec(),
        }
    }

    fn apply(&self, bytes: &mut [u8]) {
        let length = self.from.len();
        let mut at = 0;
        while at + length <= bytes.len() {
            if bytes[at..at + length] == self.from[..] {
                bytes[at..at + length].copy_from_slice(&self.to);
            }
            at += 1;
        }
    }
}

/// The wire.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Where to connect instead of to the server.
    pub(crate) port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    pub(crate) fn to(port: u16, swaps: &[Swap]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self {
            port: listener.local_addr().unwrap().port(),
            sent: Arc::default(),
        };
        let (sent, swaps) = (wire.sent.clone(), swaps.to_vec());
        // Both end with the test's process at the latest.
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                carry(&near, &far, Way::ToServer, &swaps, Some(sent.clone()));
                carry(&far, &near, Way::ToUs, &swaps, None);
            }
        });
        wire
    }

    /// Whether a text has been sent to the server, after replacements.
    pub(crate) fn sent(&self, text: &str) -> bool {
        let sent = self.sent.lock().unwrap();
        sent.windows(text.len())
            .any(|window| window == text.as_bytes())
    }
}

fn carry(
    from: &TcpStream,
    to: &TcpStream,
    way: Way,
    swaps: &[Swap],
    record: Option<Arc<Mutex<Vec<u8>>>>,
) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let _ = to.set_nodelay(true);
    let swaps: Vec<_> = swaps
        .iter()
        .filter(|swap| swap.way == way)
        .cloned()
        .collect();
    thread::spawn(move || {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            let bytes = &mut chunk[..count];
            for swap in &swaps {
                swap.apply(bytes);
            }
            if let Some(record) = &record {
                record.lock().unwrap().extend_from_slice(bytes);
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
