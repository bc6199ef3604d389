//! What is true of each document whatever the unknowns come to: whether it reads one, and whether it can fail.

use super::steps;
use super::term::Root;
use super::unknown::Unknowns;
use crate::program::{
    Base, Callee, CollectKind, Mock, NodeId, Operand, Program, Rule, RuleKind, RuleSet, RuleSetId, Step, StepKind,
    Target,
};
use crate::value::Value;

/// Built-in functions that give a result, or none, for any values.
const TOTAL: &[&str] = &[
    "type_name",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "neq",
    "lt",
    "lte",
    "gt",
    "gte",
    "equal",
    "time.now_ns",
    "opa.runtime",
];

/// Facts about all rule sets of a program.
pub(super) struct Facts<'a> {
    program: &'a Program,
    unknowns: &'a Unknowns,
    strict: bool,
    /// By rule set: whether it reads what is unknown.
    unknown: Vec<bool>,
    /// By rule set: whether two queries can find different documents where nothing is unknown.
    unsteady: Vec<bool>,
    /// By rule set: whether it can fail with an error.
    erring: Vec<bool>,
}

impl<'a> Facts<'a> {
    /// `strict`: built-in errors end the evaluation.
    pub(super) fn new(program: &'a Program, unknowns: &'a Unknowns, strict: bool) -> Facts<'a> {
        let mut facts =
            Facts { program, unknowns, strict, unknown: Vec::new(), unsteady: Vec::new(), erring: Vec::new() };
        let users = facts.users();
        facts.unsteady = facts.spread(&users, |facts, step| facts.is_unsteady_itself(step), |_| false);
        let hidden = |set: &RuleSet| unknowns.touch(Root::Data, &set.path);
        facts.unknown = facts.spread(&users, |facts, step| facts.reads(step) || facts.is_unsteady_itself(step), hidden);
        facts.erring = facts.spread(&users, |facts, step| facts.errs_itself(step), can_conflict);
        facts
    }

    /// By rule set: the sets whose rules read it.
    fn users(&self) -> Vec<Vec<RuleSetId>> {
        let mut users = vec![Vec::new(); self.program.sets.len()];
        for (user, set) in (0_u32..).zip(&self.program.sets) {
            for step in set_steps(set) {
                steps::each(step, &mut |step| {
                    for used in self.used(step) {
                        if let Some(users) = users.get_mut(used as usize) {
                            users.push(user);
                        }
                    }
                });
            }
        }
        users
    }

    /// The sets for which a fact holds by their own steps, and those that use them.
    fn spread(
        &self,
        users: &[Vec<RuleSetId>],
        own: impl Fn(&Facts<'a>, &Step) -> bool,
        whole: impl Fn(&RuleSet) -> bool,
    ) -> Vec<bool> {
        let mut holds = vec![false; self.program.sets.len()];
        let mut next: Vec<usize> = Vec::new();
        for (at, set) in self.program.sets.iter().enumerate() {
            let mut found = whole(set);
            for step in set_steps(set) {
                steps::each(step, &mut |step| found |= own(self, step));
            }
            if found {
                next.push(at);
            }
        }
        while let Some(at) = next.pop() {
            if holds.get(at) == Some(&false) {
                if let Some(place) = holds.get_mut(at) {
                    *place = true;
                }
                next.extend(users.get(at).into_iter().flatten().map(|user| *user as usize));
            }
        }
        holds
    }

    /// The rule sets that the step itself names.
    fn used(&self, step: &Step) -> Vec<RuleSetId> {
        match &step.kind {
            StepKind::Rule { set, .. } => vec![*set],
            StepKind::Call { callee: Callee::Function(set), .. } => vec![*set],
            StepKind::Extent { node, .. } | StepKind::Tree { node, .. } => self.below(*node),
            StepKind::With { mods, .. } => mods
                .iter()
                .filter_map(|modifier| match modifier.value {
                    Mock::Callee(Callee::Function(set)) => Some(set),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn below(&self, node: NodeId) -> Vec<RuleSetId> {
        let (mut found, mut next) = (Vec::new(), vec![node]);
        while let Some(node) = next.pop().and_then(|at| self.program.nodes.get(at as usize)) {
            found.extend(node.rules);
            next.extend(node.children.values());
        }
        found
    }

    fn is_unsteady_itself(&self, step: &Step) -> bool {
        let unsteady = |callee: &Callee| match callee {
            Callee::Builtin(builtin) => {
                let dated = builtin.name().starts_with("crypto.x509.parse_and_verify");
                self.unknowns.now && (builtin.signature.nondeterministic || dated)
            }
            Callee::Function(_) => false,
        };
        match &step.kind {
            StepKind::Call { callee, .. } => unsteady(callee),
            StepKind::With { mods, .. } => {
                mods.iter().any(|modifier| matches!(&modifier.value, Mock::Callee(callee) if unsteady(callee)))
            }
            _ => false,
        }
    }

    /// Whether the step itself reads a part of the input or of data that is unknown.
    fn reads(&self, step: &Step) -> bool {
        match &step.kind {
            StepKind::Get { base, keys, .. } => {
                let start = match base {
                    Base::Input => Root::Input,
                    Base::Data => Root::Data,
                    Base::Value(_) => return false,
                };
                let path: Vec<Value> = keys
                    .iter()
                    .map_while(|key| match key {
                        Operand::Const(value) => Some(value.clone()),
                        _ => None,
                    })
                    .collect();
                self.unknowns.touch(start, &path)
            }
            StepKind::Extent { node, .. } | StepKind::Tree { node, .. } => {
                let path = self.program.nodes.get(*node as usize).map_or(&[][..], |node| &node.path);
                self.unknowns.touch(Root::Data, path)
            }
            _ => false,
        }
    }

    fn errs_itself(&self, step: &Step) -> bool {
        match &step.kind {
            StepKind::Call { callee: Callee::Builtin(builtin), .. } => self.builtin_errs(builtin.name()),
            StepKind::Collect(collect) => matches!(collect.kind, CollectKind::Object { .. }),
            StepKind::With { .. } => true,
            _ => false,
        }
    }

    pub(super) fn builtin_errs(&self, name: &str) -> bool {
        self.strict && !TOTAL.contains(&name)
    }

    /// Whether a step reads what is unknown, by itself or through rules.
    pub(super) fn is_unknown(&self, step: &Step) -> bool {
        self.any(step, &self.unknown, &|facts, step| facts.reads(step) || facts.is_unsteady_itself(step))
    }

    fn any(&self, step: &Step, facts: &[bool], own: &dyn Fn(&Facts<'a>, &Step) -> bool) -> bool {
        if let StepKind::With { mods, block, .. } = &step.kind
            && std::ptr::eq(facts, self.unknown.as_slice())
            && self.replaces_all(mods)
        {
            // What the modifiers put in place is known, or else the slots that it comes from are not.
            return block
                .steps
                .iter()
                .any(|step| self.any(step, &self.unsteady, &|facts, step| facts.is_unsteady_itself(step)))
                || self.is_unsteady_itself(step)
                || self.used(step).into_iter().any(|set| self.unsteady.get(set as usize) == Some(&true));
        }
        let named = self.used(step).into_iter().any(|set| facts.get(set as usize) == Some(&true));
        named
            || own(self, step)
            || steps::blocks(step).iter().any(|block| block.steps.iter().any(|step| self.any(step, facts, own)))
    }

    /// Whether modifiers replace everything that is unknown.
    fn replaces_all(&self, mods: &[crate::program::WithMod]) -> bool {
        let replaced = |root: Root, path: &[Value]| {
            mods.iter().any(|modifier| match (&modifier.target, root) {
                (Target::Input(target), Root::Input) | (Target::Data(target), Root::Data) => path.starts_with(target),
                _ => false,
            })
        };
        self.unknowns.paths().all(|(root, path)| replaced(root, path))
    }

    /// Whether a document can fail with an error.
    pub(super) fn set_errs(&self, set: RuleSetId) -> bool {
        self.erring.get(set as usize).copied().unwrap_or(true)
    }

    /// Whether steps can fail with an error.
    pub(super) fn errs(&self, steps: &[Step]) -> bool {
        steps.iter().any(|step| self.any(step, &self.erring, &|facts, step| facts.errs_itself(step)))
    }
}

fn set_steps(set: &RuleSet) -> impl Iterator<Item = &Step> {
    set.rules.iter().chain(&set.default).flat_map(|rule| &rule.branches).flat_map(|branch| &branch.block.steps)
}

/// Whether the rules can contradict each other.
fn can_conflict(set: &RuleSet) -> bool {
    let single = |rules: &[Rule]| match rules {
        [] => true,
        [rule] => match &*rule.branches {
            // Only one solution, or the same value for each.
            [branch] => !steps::is_multiple(&branch.block.steps) || matches!(branch.value, Operand::Const(_)),
            branches => branches.iter().all(|branch| !steps::is_multiple(&branch.block.steps)),
        },
        _ => false,
    };
    match set.kind {
        RuleKind::Complete | RuleKind::Function(_) => !set.constant && !single(&set.rules),
        RuleKind::Set => false,
        RuleKind::Object => true,
    }
}
