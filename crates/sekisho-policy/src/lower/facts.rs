//! The facts of a decision, each place read once.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};

use sekisho_rego::builtins::Context;
use sekisho_rego::decision::Truth;
use sekisho_rego::value::Value;
use sekisho_types::UnixTime;

use crate::oracle::Oracle;
use crate::{context, schema};

/// A place in the input.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub names: Vec<String>,
    /// The same as keys of objects and numbers of items.
    pub keys: Vec<Value>,
    /// Whether the value there is a text on any input, if there is one.
    pub text: bool,
}

impl Path {
    pub(super) fn of(keys: Vec<Value>) -> Self {
        let name = |key: &Value| key.as_str().map_or_else(|| key.to_string(), str::to_owned);
        Self { names: keys.iter().map(name).collect(), text: schema::is_text(&keys), keys }
    }
}

/// Facts of one decision, each looked up once however many rules ask for it.
pub(crate) struct FactCache<'a, F> {
    pub(super) facts: &'a F,
    pub(super) now: UnixTime,
    /// The places by their numbers.
    pub(super) paths: &'a [Path],
    slots: Vec<OnceCell<Option<Cow<'a, Value>>>>,
    truths: Vec<Cell<Option<Truth>>>,
    /// For builtins, here and in the engine.
    pub(crate) context: RefCell<Context>,
    /// In a replay: it answers for values that a record hides.
    pub(super) oracle: Option<&'a Oracle>,
}

impl<'a, F: Facts> FactCache<'a, F> {
    /// Of `conditions` conditions each is evaluated once, others each time.
    pub(super) fn new(facts: &'a F, now: UnixTime, paths: &'a [Path], conditions: usize) -> Self {
        let slots = std::iter::repeat_with(OnceCell::new).take(paths.len()).collect();
        let context = RefCell::new(context::take(now));
        Self { facts, now, paths, slots, truths: vec![Cell::new(None); conditions], context, oracle: None }
    }

    pub(crate) fn asking(mut self, oracle: &'a Oracle) -> Self {
        self.oracle = Some(oracle);
        self
    }

    /// The truth of the condition with this number; it is evaluated once.
    pub(super) fn once(&self, number: u32, judge: impl FnOnce() -> Truth) -> Truth {
        let known = self.truths.get(number as usize);
        if let Some(truth) = known.and_then(Cell::get) {
            return truth;
        }
        let truth = judge();
        known.into_iter().for_each(|known| known.set(Some(truth)));
        truth
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Value> {
        let (known, path) = (self.slots.get(slot as usize)?, self.paths.get(slot as usize)?);
        known.get_or_init(|| self.facts.at(path, self.now)).as_deref()
    }
}

/// The source of facts: a request as the sidecar holds it, or any document.
pub(crate) trait Facts {
    /// The value at `path`; `None` where the input has nothing.
    fn at(&self, path: &Path, now: UnixTime) -> Option<Cow<'_, Value>>;
}

impl Facts for Value {
    fn at(&self, path: &Path, _now: UnixTime) -> Option<Cow<'_, Value>> {
        path.keys.iter().try_fold(self, |at, key| at.get(key)).map(Cow::Borrowed)
    }
}

impl<F> Drop for FactCache<'_, F> {
    fn drop(&mut self) {
        context::keep(&mut self.context.borrow_mut());
    }
}
