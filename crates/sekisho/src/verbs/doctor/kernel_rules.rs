//! Rules of the network that workloads of this machine are under: whether the kernel has them, and what they leave out.

use std::path::Path;

use sekisho_kernel::records::{self, Record};
use sekisho_kernel::{InForce, capabilities};

use super::check::Check;

pub(super) fn checks() -> Vec<Check> {
    let records = records::read(Path::new(records::FOLDER)).map_err(|error| error.to_string());
    let gaps = records.as_deref().map(gaps).unwrap_or_default();
    let mut checks = vec![Check::new(
        "kernel-rules",
        records.and_then(|records| if records.is_empty() { Ok(none()) } else { in_force(&records, &rule_in_force) }),
        "start the workload again; what is left of one whose guard was killed is in /run/sekisho/network",
    )];
    checks.extend((!gaps.is_empty()).then(|| Check::new("kernel-rules-gaps", Ok(gaps.join("; ")), "")));
    checks
}

fn rule_in_force(record: &Record, rule: usize) -> InForce {
    record.rules.get(rule).map_or(InForce::No, |rule| rule.in_force(record.number))
}

/// No workload is under rules: whether one could be.
fn none() -> String {
    let lacking = capabilities().into_iter().filter(|one| one.required && !one.present);
    let lacking: Vec<String> = lacking.map(|one| format!("{}: {}", one.name, one.found)).collect();
    let none = "no workload is under rules of the network";
    if lacking.is_empty() {
        none.to_owned()
    } else {
        format!("{none}; this process could start none ({})", lacking.join(", "))
    }
}

fn in_force(records: &[Record], state: &dyn Fn(&Record, usize) -> InForce) -> Result<String, String> {
    let (mut rules, mut gone, mut unknown) = (0, Vec::new(), None);
    for record in records {
        for (at, rule) in record.rules.iter().enumerate() {
            rules += 1;
            match state(record, at) {
                InForce::Yes { .. } => {}
                InForce::No => gone.push(format!("`{}` of {}", rule.rule, record.spiffe_id)),
                InForce::Unknown(why) => unknown = Some(why),
            }
        }
    }
    let found = format!("{rules} rules of {} workloads", records.len());
    match (gone.first(), unknown) {
        (Some(first), _) => Err(format!("{} of {found} are not in the kernel, such as {first}", gone.len())),
        (None, Some(why)) => Ok(format!("{found}; not checked: {why}")),
        (None, None) => Ok(format!("{found} are in the kernel")),
    }
}

/// Each once, whatever workload it is of.
fn gaps(records: &[Record]) -> Vec<String> {
    let all: std::collections::BTreeSet<&String> = records.iter().flat_map(|record| &record.not_enforced).collect();
    all.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use sekisho_kernel::records::RuleRecord;

    use super::*;

    #[test]
    fn law_l15_a_missing_rule_is_found() {
        let rule = RuleRecord {
            rule: "out".into(),
            allows: true,
            allowed: 0,
            denied: 0,
            table: String::new(),
            map: 1,
            digest: String::new(),
            points: Vec::new(),
        };
        let record = Record {
            spiffe_id: "spiffe://td/a".into(),
            cgroup: "/".into(),
            number: 7,
            holder: 1,
            kernel: String::new(),
            generation: 1,
            judged: 0,
            denied: 0,
            rules: vec![rule.clone(), rule],
            not_enforced: vec!["Unix sockets".into()],
        };
        let records = [record.clone(), record];
        let found = |states: [InForce; 2]| in_force(&records, &|_, at| states[at].clone());
        let yes = InForce::Yes { cgroup: 7 };
        assert_eq!(found([yes.clone(), yes.clone()]), Ok("4 rules of 2 workloads are in the kernel".to_owned()));
        let unknown = found([yes.clone(), InForce::Unknown("no right".into())]).unwrap();
        assert!(unknown.contains("not checked: no right"), "{unknown}");
        let gone = found([yes, InForce::No]).unwrap_err();
        assert!(gone.contains("2 of 4 rules") && gone.contains("`out` of spiffe://td/a"), "{gone}");
        assert_eq!(gaps(&records), ["Unix sockets"]);
    }
}
