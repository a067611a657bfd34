//! As much of Bolt 4.4 as it takes to ask for a plan: the driver keeps plans to itself.
//!
//! ```text
//! message = chunk* 00 00      chunk = length (2 bytes), bytes
//! handshake -> HELLO -> RUN "EXPLAIN ..." -> PULL -> SUCCESS {plan: {operatorType, args, children}}
//! ```

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc::channel,
    time::Duration,
};

use serde_json::{Map, Value as Json};
use tokio::signal::unix::{SignalKind, signal};
use wal2graph::neo4j::parameter::KEEP_PLAN;

use crate::support::PATIENCE;

/// Magic, then one proposed version (4.4) and three empty ones.
const HANDSHAKE: [u8; 20] =
    [0x60, 0x60, 0xB0, 0x17, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// `RUN text parameters extra`.
const RUN: [u8; 2] = [0xB3, 0x10];
/// `PULL {n: -1}`.
const PULL: [u8; 6] = [0xB1, 0x3F, 0xA1, 0x81, b'n', 0xFF];
const RECORD: u8 = 0x71;
const SUCCESS: u8 = 0x70;

/// A statement as the program sent it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    pub text: String,
    /// Parameters and extras, as they were packed.
    pub rest: Vec<u8>,
}

impl Run {
    /// The message's statement, if it is one that runs one.
    pub fn of(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message.strip_prefix(&RUN)?);
        let Json::String(text) = reader.value() else { panic!("RUN begins with a text") };
        // It is planned anew here.
        let text = text.strip_prefix(KEEP_PLAN).map(str::to_owned).unwrap_or(text);
        Some(Run { text, rest: reader.0.to_vec() })
    }
}

/// Messages put together from whatever pieces a connection gives.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    message: Vec<u8>,
}

impl Messages {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message that is whole.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let length = usize::from(u16::from_be_bytes(self.bytes.first_chunk().copied()?));
            if self.bytes.len() < 2 + length {
                return None;
            }
            let chunk: Vec<u8> = self.bytes.drain(..2 + length).skip(2).collect();
            self.message.extend(chunk);
            if length == 0 && !self.message.is_empty() {
                return Some(std::mem::take(&mut self.message));
            }
        }
    }
}

/// A connection to a server without authentication.
pub struct Bolt {
    socket: TcpStream,
    messages: Messages,
}

impl Bolt {
    pub fn connect(port: u16) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&HANDSHAKE).unwrap();
        let mut version = [0; 4];
        socket.read_exact(&mut version).unwrap();
        assert_eq!(version, [0, 0, 4, 4], "the server speaks Bolt 4.4");
        let mut bolt = Bolt { socket, messages: Messages::default() };
        let hello = b"\xB1\x01\xA2\x8Auser_agent\x85plans\x86scheme\x84none";
        bolt.send(hello);
        bolt.success("HELLO");
        bolt
    }

    /// The plan the server would make now, whatever it has made before. (Clearing its caches would
    /// have it plan every other test's statements again.)
    pub fn explain(&mut self, run: &Run) -> Json {
        self.run(&format!("CYPHER replan=force EXPLAIN {}", run.text), &run.rest)["plan"].take()
    }

    fn run(&mut self, text: &str, rest: &[u8]) -> Json {
        let mut message = RUN.to_vec();
        message.push(0xD2);
        message.extend((text.len() as u32).to_be_bytes());
        message.extend(text.as_bytes());
        message.extend(rest);
        self.send(&message);
        self.success(text);
        self.send(&PULL);
        self.success(text)
    }

    fn send(&mut self, message: &[u8]) {
        let mut bytes = Vec::with_capacity(message.len() + 8);
        for chunk in message.chunks(usize::from(u16::MAX)) {
            bytes.extend((chunk.len() as u16).to_be_bytes());
            bytes.extend(chunk);
        }
        bytes.extend([0, 0]);
        self.socket.write_all(&bytes).unwrap();
    }

    /// One chunk more. A signal that comes meanwhile ends `read`, but not `read_exact`.
    fn receive(&mut self) -> std::io::Result<()> {
        let mut length = [0; 2];
        self.socket.read_exact(&mut length)?;
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        self.socket.read_exact(&mut bytes)?;
        self.messages.push(&length);
        self.messages.push(&bytes);
        Ok(())
    }

    /// The metadata of the answer that is no record.
    fn success(&mut self, to: &str) -> Json {
        loop {
            let message = loop {
                if let Some(message) = self.messages.next() {
                    break message;
                }
                self.receive().unwrap_or_else(|cause| panic!("no answer to {to}: {cause}"));
            };
            let metadata = || Reader(&message[2..]).value();
            match message[1] {
                RECORD => {}
                SUCCESS => return metadata(),
                _ => panic!("{to}: {}", metadata()),
            }
        }
    }
}

/// PackStream from the front of a message.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_first_chunk().expect("a whole message");
        self.0 = rest;
        *bytes
    }

    /// A length in so many bytes.
    fn length(&mut self, width: u8) -> usize {
        (0..width).fold(0, |length, _| length << 8 | usize::from(self.bytes::<1>()[0]))
    }

    fn value(&mut self) -> Json {
        let [marker] = self.bytes();
        let low = usize::from(marker & 0x0F);
        match marker {
            0xC0 => Json::Null,
            0xC1 => f64::from_be_bytes(self.bytes()).into(),
            0xC2 | 0xC3 => (marker == 0xC3).into(),
            0x00..=0x7F | 0xF0..=0xFF => i64::from(marker as i8).into(),
            0xC8 => i64::from(i8::from_be_bytes(self.bytes())).into(),
            0xC9 => i64::from(i16::from_be_bytes(self.bytes())).into(),
            0xCA => i64::from(i32::from_be_bytes(self.bytes())).into(),
            0xCB => i64::from_be_bytes(self.bytes()).into(),
            0x80..=0x8F => self.text(low),
            0xD0..=0xD2 => {
                let length = self.length(1 << (marker - 0xD0));
                self.text(length)
            }
            0x90..=0x9F => self.list(low),
            0xD4..=0xD6 => {
                let length = self.length(1 << (marker - 0xD4));
                self.list(length)
            }
            0xA0..=0xAF => self.map(low),
            0xD8..=0xDA => {
                let length = self.length(1 << (marker - 0xD8));
                self.map(length)
            }
            // Structures are not looked into.
            0xB0..=0xBF => {
                self.bytes::<1>();
                self.list(low)
            }
            other => panic!("marker {other:02X}"),
        }
    }

    fn text(&mut self, length: usize) -> Json {
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).expect("UTF-8").into()
    }

    fn list(&mut self, length: usize) -> Json {
        (0..length).map(|_| self.value()).collect::<Vec<_>>().into()
    }

    fn map(&mut self, length: usize) -> Json {
        let pair = |reader: &mut Self| {
            let Json::String(name) = reader.value() else { panic!("names are texts") };
            (name, reader.value())
        };
        Json::Object((0..length).map(|_| pair(self)).collect::<Map<_, _>>())
    }
}

/// `SO_RCVTIMEO` makes a plain `read` fail with `EINTR` where a signal comes, or where the machine
/// stops its processes for a moment and lets them go on; it ended the suite once.
#[tokio::test]
async fn a_signal_while_an_answer_is_awaited_is_no_error() {
    let mut signals = signal(SignalKind::user_defined1()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, thread) = channel();
    let client = std::thread::spawn(move || {
        tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        Bolt::connect(port);
    });
    let thread = thread.recv().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    server.read_exact(&mut [0; HANDSHAKE.len()]).unwrap();
    server.write_all(&[0, 0, 4, 4]).unwrap();
    server.read_exact(&mut [0; 2]).unwrap();
    for part in [&[0, 3, 0xB1][..], &[SUCCESS, 0xA0], &[0, 0]] {
        for _ in 0..5 {
            let number = thread.file_name().unwrap();
            let status = Command::new("kill").args(["-s", "USR1"]).arg(number).status().unwrap();
            assert!(status.success());
            signals.recv().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.write_all(part).unwrap();
    }
    client.join().unwrap();
}
