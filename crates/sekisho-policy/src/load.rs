//! Loading a policy set: whole or not at all.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use aws_lc_rs::digest;
use regorus::Engine;
use regorus::utils::limits::ExecutionTimerConfig;
use sekisho_types::{Digest, UnixTime};

use crate::dialect::{self, Dialect};
use crate::lower::{self, Lowered};
use crate::reads::{self, Reads};
use crate::recursion::{self, Recursion};
use crate::source::{ENTRY_RULE, MAX_FILES, MAX_POLICY_BYTES, PolicyError, Source};
use crate::{builtins, digits, names, work};

const LOAD_STACK: usize = 16 * 1024 * 1024;
/// Most steps that one decision may take before it is an error, and so a denial: about 25 ms where nothing in it is
/// large.
const MAX_STEPS: u32 = 100_000;
/// Parts of an input that leave all of them: values, and blocks of 256 bytes in texts.
const PARTS: u32 = 128;

/// A loaded policy set, ready to decide on any thread.
pub struct PolicySet {
    /// With all rules.
    pub(crate) engine: Engine,
    /// With the rules that the lowering does not decide, if it decides others.
    pub(crate) rest: Option<Engine>,
    pub(crate) lowered: Lowered,
    /// Its reads of values that records hide.
    pub(crate) reads: Reads,
    sources: Vec<Source>,
    dialects: Vec<Dialect>,
    digest: Digest,
}

impl PolicySet {
    pub fn load(mut sources: Vec<Source>) -> Result<Self, PolicyError> {
        if sources.len() > MAX_FILES || sources.iter().map(|s| s.text.len()).sum::<usize>() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge);
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        // What a parser follows on its stack is bounded; on a stack of our own that bound is enough wherever we are
        // called.
        let Loaded { engine, rest, lowered, reads, dialects } = std::thread::scope(|scope| {
            let load = || catch_unwind(AssertUnwindSafe(|| Self::load_sorted(&sources)));
            let thread = std::thread::Builder::new().stack_size(LOAD_STACK).spawn_scoped(scope, load);
            let thread = thread.map_err(|error| PolicyError::Prepare(format!("no thread to load it on: {error}")))?;
            let caught = thread.join().and_then(|caught| caught);
            caught.map_err(|_| PolicyError::Prepare("the engine panicked".into()))?
        })?;
        Ok(Self { engine, rest, lowered, reads, dialects, digest: digest_of(&sources), sources })
    }

    fn load_sorted(sources: &[Source]) -> Result<Loaded, PolicyError> {
        let (mut engine, dialects) = engine_of(sources)?;
        if let Some(Recursion { file, line, reason }) = recursion::find(engine.get_modules()) {
            return Err(PolicyError::At { file, line, reason });
        }
        if let Some(names::Unresolved { file, line, reason }) = names::find(engine.get_modules()) {
            return Err(PolicyError::At { file, line, reason });
        }
        if let Some(names::Unresolved { file, line, reason }) = digits::find(engine.get_modules()) {
            return Err(PolicyError::At { file, line, reason });
        }
        let mut lowered = lower::lower(engine.get_modules());
        // A default alone denies everything, which is a policy; with another value it would allow everything.
        if lowered.rules.is_empty() && (lowered.defaults.is_empty() || !lowered.apart) {
            return Err(PolicyError::NoEntryRule);
        }
        // Evaluate once on nothing, which prepares the engine and finds what only preparation finds.
        let probed = probe(&engine).map_err(PolicyError::Prepare)?;
        // Where the engine errs on nothing at all, what it goes by is more than the lowering sees.
        lowered.apart &= probed.is_ok();
        if let Err(error) = probed
            && !is_runtime_error(&error)
        {
            return Err(located(&error, sources));
        }
        prepare(&mut engine);
        let rest = if lowered.apart && lowered.has_rest && !lowered.decided.is_empty() {
            lower::rest::sources(&lowered, sources).and_then(|rest| {
                let (mut engine, _) = engine_of(&rest).ok()?;
                prepare(&mut engine);
                Some(engine)
            })
        } else {
            None
        };
        let reads = reads::find::find(engine.get_modules());
        Ok(Loaded { engine, rest, lowered, reads, dialects })
    }

    /// The files and the version of Rego that each is written in.
    pub fn dialects(&self) -> impl Iterator<Item = (&Source, Dialect)> {
        self.sources.iter().zip(self.dialects.iter().copied())
    }

    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// SHA-256 over names and texts, in order of name.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// What the loading thread gives back.
struct Loaded {
    engine: Engine,
    rest: Option<Engine>,
    lowered: Lowered,
    reads: Reads,
    dialects: Vec<Dialect>,
}

/// An engine behind our limits and with our builtins, that has read `sources`.
fn engine_of(sources: &[Source]) -> Result<(Engine, Vec<Dialect>), PolicyError> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    // The engine looks at its clock after this many steps, and any time is then too long: steps are the limit, so that
    // a decision comes out alike on a slow machine and in a replay.
    limit_steps(&mut engine, &regorus::Value::Undefined);
    // `print` would write what it prints, masked headers too, to standard error. Gathered, it ends with its decision.
    engine.set_gather_prints(true);
    builtins::install(&mut engine).map_err(PolicyError::Prepare)?;
    let dialects = sources.iter().map(|source| add(&mut engine, source)).collect::<Result<_, _>>()?;
    builtins::bound(&mut engine).map_err(PolicyError::Prepare)?;
    Ok((engine, dialects))
}

/// A step may look at all of the input: a large one leaves fewer.
pub(crate) fn limit_steps(engine: &mut Engine, input: &regorus::Value) {
    let share = MAX_STEPS / (1 + u32::try_from(work::parts(input)).unwrap_or(u32::MAX) / PARTS);
    let check_interval = NonZeroU32::new(share).unwrap_or(NonZeroU32::MIN);
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: Duration::ZERO, check_interval });
}

/// The result of the entry rule of a copy for an input without members: an error, or no error.
fn probe(engine: &Engine) -> Result<Result<(), String>, String> {
    let mut probe = engine.clone();
    work::begin();
    builtins::bind_clock(&mut probe, UnixTime::default())?;
    probe.set_input(regorus::Value::new_object());
    Ok(probe.eval_rule(ENTRY_RULE.to_owned()).map(drop).map_err(|error| error.to_string()))
}

/// The same without our clock: what is kept is the prepared engine, not the answer.
fn prepare(engine: &mut Engine) {
    engine.set_input(regorus::Value::new_object());
    work::begin();
    let _prepared = engine.eval_rule(ENTRY_RULE.to_owned());
    let _unseen = engine.take_prints();
}

/// Reads a file in the version that it is written in; what fails in that version is not tried in the other.
fn add(engine: &mut Engine, source: &Source) -> Result<Dialect, PolicyError> {
    let dialect = dialect::dialect(source)?;
    engine.set_rego_v0(dialect == Dialect::V0);
    let added = engine.add_policy(source.name.clone(), source.text.clone());
    engine.set_rego_v0(false);
    match added {
        Ok(_) => Ok(dialect),
        Err(error) => Err(located(&error.to_string(), std::slice::from_ref(source))),
    }
}

/// The engine's message carries `--> file:line:column` and `error: reason`.
fn located(message: &str, sources: &[Source]) -> PolicyError {
    let reason = message.rsplit("error: ").next().unwrap_or(message).trim().to_owned();
    let place = message.split("--> ").nth(1).and_then(|rest| rest.lines().next());
    let mut parts = place.unwrap_or_default().rsplitn(3, ':');
    let (_column, line, file) = (parts.next(), parts.next().and_then(|line| line.parse().ok()), parts.next());
    match (line, file) {
        (Some(line), Some(file)) => PolicyError::At { file: file.to_owned(), line, reason },
        _ => match sources {
            [only] => PolicyError::At { file: only.name.clone(), line: 1, reason },
            _ => PolicyError::Prepare(reason),
        },
    }
}

/// Errors that depend on the input do not speak against the policy set.
fn is_runtime_error(message: &str) -> bool {
    ![
        "could not find function",
        "recursion",
        "redefined",
        "undefined variable",
        "unsafe",
        "conflict",
        "is not available",
    ]
    .iter()
    .any(|sign| message.contains(sign))
}

fn digest_of(sources: &[Source]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for source in sources {
        for part in [&source.name, &source.text] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    let mut out = [0u8; 32];
    out.copy_from_slice(context.finish().as_ref());
    Digest::new(out)
}
