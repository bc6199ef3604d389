//! Mutates, runs, keeps what behaved in a new way.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::Target;
use crate::random::Random;

/// Longest input that mutation grows to, in bytes.
const MAX_INPUT: usize = 64 * 1024;
const MAX_CORPUS: usize = 4096;

/// An input that a target did not survive.
#[derive(Debug)]
pub struct Failure {
    pub target: &'static str,
    pub seed: u64,
    pub input: Vec<u8>,
    pub message: String,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub executions: u64,
    /// Different outcomes seen.
    pub outcomes: usize,
    /// The longest that one input took.
    pub slowest: Duration,
}

/// Runs `target` on its samples and on mutations of them, for `executions` inputs or until `until`.
pub fn run(target: &Target, seed: u64, executions: u64, until: Option<Instant>) -> Result<Run, Failure> {
    let mut random = Random::new(seed);
    let mut corpus = (target.samples)();
    let samples = corpus.len();
    let mut outcomes = HashSet::new();
    let mut slowest = Duration::ZERO;
    let mut done = 0;
    while done < executions && until.is_none_or(|until| Instant::now() < until) {
        // Each sample runs once as it is.
        let input = match corpus.get(done as usize) {
            Some(sample) if (done as usize) < samples => sample.clone(),
            _ => mutated(&corpus, &mut random),
        };
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Failure { target: target.name, seed, input: input.clone(), message }
        })?;
        slowest = slowest.max(started.elapsed());
        done += 1;
        if outcomes.insert(shape(&outcome)) && corpus.len() < MAX_CORPUS {
            corpus.push(input);
        }
    }
    Ok(Run { executions: done, outcomes: outcomes.len(), slowest })
}

/// An outcome without its numbers and quoted parts, which come from the input.
fn shape(outcome: &str) -> String {
    let mut quoted = false;
    let keep = |c: &char| {
        quoted ^= matches!(c, '`' | '"');
        !quoted && !c.is_ascii_digit()
    };
    outcome.chars().filter(keep).take(200).collect()
}

/// Bytes that parsers look for.
const TOKENS: &[&[u8]] = &[
    b"spiffe://",
    b"/",
    b"..",
    b"%2e",
    b"%00",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"true",
    b"-1",
    b"18446744073709551616",
    b"1e400",
    b"\\u0000",
    b"\xff",
    b"\xf0\x9f\x94\x91",
    b"\xe2\x80\x94 ",
    b"==",
    b".",
    b"eyJ",
    b"alg",
    b"none",
    b"\x30\x82",
    b"\x30\x84\xff\xff\xff\xff",
    b"\xa0\x80",
    b"chunked",
    b"content-length: 1",
    b"transfer-encoding: ",
    b"0\r\n\r\n",
    b"input.",
    b"not ",
    b"some x",
    b"==",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
];

fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..=random.below(4) {
        mutate(&mut input, corpus, random);
    }
    input.truncate(MAX_INPUT);
    input
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = at + random.below((input.len() - at).min(64) + 1);
    match random.below(9) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b' ', b'"', b'0'][random.below(8)],
        2 => drop(input.drain(at..end)),
        3 => input.insert(at, random.next() as u8),
        4 => drop(input.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
        5 => {
            let piece = input[at..end].to_vec();
            for _ in 0..=random.below(4) {
                input.splice(at..at, piece.iter().copied());
            }
        }
        6 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let to = from + random.below((other.len() - from).min(256) + 1);
            input.splice(at..end, other[from..to].iter().copied());
        }
        7 => input.truncate(at),
        _ => {
            // Numbers are where lengths and times stand.
            if let Some(digit) = (at..input.len()).find(|i| input[*i].is_ascii_digit()) {
                input[digit] = b'0' + random.below(10) as u8;
            }
        }
    }
}
