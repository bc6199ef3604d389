//! A request from one simulated sidecar to another: its bytes, and the input of its decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use sekisho_identity::LeafFacts;
use sekisho_policy::{RequestInput, SubjectInput};
use sekisho_types::SpiffeId;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::here::random;

pub(super) const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
pub(super) const PATHS: [&str; 2] = ["accounts", "transfers"];

/// What a sidecar answers.
pub(super) const ALLOWED: u8 = 1;
pub(super) const DENIED: u8 = 2;
/// The caller has closed an open request.
pub(super) const CLOSED: u8 = 3;
/// The policy no longer allows an open request.
pub(super) const CUT: u8 = 4;

/// What a caller sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Ask(Request),
    /// The open request ends.
    End,
}

/// A request. Each has a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub number: u32,
    method: u8,
    path: u8,
    /// It stays open until its caller ends it.
    pub stays_open: bool,
}

impl Request {
    /// By the seed.
    pub(super) fn drawn(number: u32) -> Self {
        let (method, path) = (random(METHODS.len() as u64) as u8, random(PATHS.len() as u64) as u8);
        Self { number, method, path, stays_open: random(4) == 0 }
    }

    pub(super) fn method(&self) -> &'static str {
        METHODS[usize::from(self.method) % METHODS.len()]
    }

    pub(super) fn path(&self) -> &'static str {
        PATHS[usize::from(self.path) % PATHS.len()]
    }

    /// Its name in records.
    pub(super) fn id(&self) -> String {
        format!("request-{}", self.number)
    }

    /// What is decided: this request of the peer that showed `leaf`, to `destination`.
    pub(super) fn input(&self, leaf: &LeafFacts, destination: &SpiffeId) -> Arc<RequestInput> {
        let subject =
            SubjectInput { spiffe_id: leaf.spiffe_id.clone(), claims: leaf.claims.clone(), issued_at: leaf.not_before };
        Arc::new(RequestInput {
            method: self.method().to_owned(),
            path: vec![self.path().to_owned()],
            query: String::new(),
            headers: BTreeMap::new(),
            subject: Arc::new(subject),
            destination: destination.clone(),
            request_id: self.id(),
        })
    }
}

impl Message {
    pub(super) fn to_bytes(self) -> [u8; 8] {
        let (kind, method, path, number) = match self {
            Self::Ask(request) => (u8::from(request.stays_open), request.method, request.path, request.number),
            Self::End => (2, 0, 0, 0),
        };
        let [a, b, c, d] = number.to_be_bytes();
        [kind, method, path, 0, a, b, c, d]
    }

    fn from_bytes(bytes: [u8; 8]) -> Self {
        let [kind, method, path, _, a, b, c, d] = bytes;
        let number = u32::from_be_bytes([a, b, c, d]);
        if kind == 2 { Self::End } else { Self::Ask(Request { number, method, path, stays_open: kind == 1 }) }
    }
}

/// Reads messages. Nothing is lost when a read is dropped.
#[derive(Default)]
pub(super) struct Messages {
    bytes: [u8; 8],
    read: usize,
}

impl Messages {
    /// The next message, unless the stream ends.
    pub(super) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Option<Message> {
        while self.read < self.bytes.len() {
            let count = stream.read(&mut self.bytes[self.read..]).await.ok()?;
            if count == 0 {
                return None;
            }
            self.read += count;
        }
        self.read = 0;
        Some(Message::from_bytes(self.bytes))
    }
}

/// The next byte, unless the stream ends. Nothing is lost when it is dropped.
pub(super) async fn one_byte(stream: &mut (impl AsyncRead + Unpin)) -> Option<u8> {
    let mut byte = [0];
    (stream.read(&mut byte).await.ok()? == 1).then_some(byte[0])
}
