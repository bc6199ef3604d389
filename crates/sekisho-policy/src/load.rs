//! Loading a policy set: whole or not at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aws_lc_rs::digest;
use sekisho_rego::syntax::ast::Module;
use sekisho_rego::value::Value;
use sekisho_rego::{CompileError, Compiler, Document, EvalError, Policy, Tracer, check};
use sekisho_types::{Digest, UnixTime};

use crate::dialect::{self, Dialect};
use crate::lower::{self, Lowered};
use crate::nodes::Distinct;
use crate::reads::{self, Reads};
use crate::scope::Scope;
use crate::source::{MAX_FILES, MAX_POLICY_BYTES, PolicyError, Source};
use crate::{context, digits, names};

const LOAD_STACK: usize = 16 * 1024 * 1024;
/// Longest chain of rules that use each other. The engine follows it on its stack.
const MAX_CHAIN: usize = 32;
/// The rule that decides, as the engine names it.
const ENTRY: [&str; 3] = ["workload", "authz", "allow"];

/// A loaded policy set, ready to decide on any thread.
pub struct PolicySet {
    /// With all rules.
    pub(crate) policy: Policy,
    /// The entry rule with all rules, and with those that the lowering does not decide, if it decides others.
    pub(crate) entry: Option<Document>,
    pub(crate) rest: Option<Document>,
    pub(crate) lowered: Lowered,
    /// Its reads of values that records hide.
    pub(crate) reads: Reads,
    sources: Vec<Source>,
    dialects: Vec<Dialect>,
    digest: Digest,
}

impl PolicySet {
    pub fn load(sources: Vec<Source>) -> Result<Self, PolicyError> {
        if sources.len() > MAX_FILES || sources.iter().map(|s| s.text.len()).sum::<usize>() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge);
        }
        Self::danger_load_any(sources)
    }

    /// The same for sets of any size: how long loading takes is then not bounded.
    ///
    /// # Errors
    /// Where the set is refused.
    pub fn danger_load_any(mut sources: Vec<Source>) -> Result<Self, PolicyError> {
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        // What a parser follows on its stack is bounded; on a stack of our own that bound is enough wherever we are
        // called.
        let loaded = std::thread::scope(|scope| {
            let load = || catch_unwind(AssertUnwindSafe(|| Loaded::of(&sources)));
            let thread = std::thread::Builder::new().stack_size(LOAD_STACK).spawn_scoped(scope, load);
            let thread = thread.map_err(|error| PolicyError::Prepare(format!("no thread to load it on: {error}")))?;
            let caught = thread.join().and_then(|caught| caught);
            caught.map_err(|_| PolicyError::Prepare("the engine panicked".into()))?
        })?;
        let Loaded { policy, rest, lowered, reads, dialects } = loaded;
        let entry = policy.document(&ENTRY);
        Ok(Self { policy, entry, rest, lowered, reads, dialects, digest: digest_of(&sources), sources })
    }

    /// The files and the version of Rego that each is written in.
    pub fn dialects(&self) -> impl Iterator<Item = (&Source, Dialect)> {
        self.sources.iter().zip(self.dialects.iter().copied())
    }

    /// The parsed files, in order of name.
    pub fn modules(&self) -> &[Module] {
        self.policy.modules()
    }

    /// Evaluates the entry rule by the engine; `tracer` hears what it does. The value; none where it is undefined.
    ///
    /// # Errors
    /// Where the evaluation fails.
    pub fn trace(&self, input: &Value, now: UnixTime, tracer: &mut dyn Tracer) -> Result<Option<Value>, EvalError> {
        let Some(entry) = &self.entry else { return Ok(None) };
        let mut context = context::take(now);
        let found = entry.trace(&context::NO_DATA, Some(input), &mut context, &context::limits(Some(input)), tracer);
        context::keep(&mut context);
        found
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
    policy: Policy,
    rest: Option<Document>,
    lowered: Lowered,
    reads: Reads,
    dialects: Vec<Dialect>,
}

impl Loaded {
    fn of(sources: &[Source]) -> Result<Self, PolicyError> {
        let read = sources.iter().map(dialect::read).collect::<Result<Vec<_>, _>>()?;
        let (dialects, modules): (Vec<Dialect>, Vec<Module>) = read.into_iter().unzip();
        let policy = compile(modules)?;
        let modules = policy.modules();
        let distinct = Distinct::of(&policy);
        let scopes: Vec<Scope<'_>> =
            modules.iter().zip(&distinct).map(|(module, own)| Scope::of(module, own)).collect();
        let functions = names::functions(modules, &distinct);
        names::check(modules, &distinct, &scopes, &functions)?;
        digits::check(modules, &distinct)?;
        let lowered = lower::lower(modules);
        // A default alone denies everything, which is a policy; with another value it would allow everything.
        if lowered.rules.is_empty() && (!lowered.has_default || !lowered.apart) {
            return Err(PolicyError::NoEntryRule);
        }
        let rest = if lowered.apart && lowered.has_rest && lowered.decides_some() {
            compile(lowered.rest(modules))?.document(&ENTRY)
        } else {
            None
        };
        let reads = reads::find::find(modules, &distinct, &scopes, &functions);
        drop((scopes, distinct));
        Ok(Self { policy, rest, lowered, reads, dialects })
    }
}

fn compile(modules: Vec<Module>) -> Result<Policy, PolicyError> {
    let checks = check::Options { longest_chain: Some(MAX_CHAIN), ..check::Options::default() };
    let compiler = modules.into_iter().fold(Compiler::new().checks(checks), Compiler::parsed);
    compiler.compile().map_err(|error| match error {
        CompileError::Refused(errors) => PolicyError::of(&errors),
        CompileError::Lowering(errors) => match errors.first() {
            Some(error) => PolicyError::At {
                file: error.place.file.to_string(),
                line: error.place.line,
                reason: error.message.clone(),
            },
            None => PolicyError::of(&[]),
        },
    })
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
