use std::process::Command;

use sekisho_kernel::bypass::{Finding, Outcome, Report, run as run_all};
use sekisho_kernel::{Capability, capabilities};
use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::global::Global;
use crate::network::refuse_without;
use crate::output::{Column, Format, or_dash, print, table};

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let capabilities = capabilities();
    refuse_without(&capabilities)?;
    let report = everything()?;
    print(global.output, &document(&report, &capabilities), || text(&report, global.output))?;
    judged(&report)
}

/// A technique that gets past is a negative answer; that one could not be judged is a failure.
fn judged(report: &Report) -> Result<Exit, Failure> {
    let all = report.findings.len();
    match (report.count(&Outcome::Bypassed), report.count(&Outcome::Unclear)) {
        (0, 0) => Ok(Exit::Ok),
        (0, unclear) => Err(Failure::failed(format!(
            "{unclear} of {all} techniques failed, and no rule denied them: run it again while the machine is idle"
        ))),
        (count, _) => Err(Failure::new(
            Exit::Denied,
            format!(
                "{count} of {all} techniques get past the rules: do not rely on rules in the kernel of this machine, \
                 and report this output"
            ),
        )),
    }
}

/// In a thread of its own, which moves to another network.
fn everything() -> Result<Report, Failure> {
    let program = std::env::current_exe().map_err(Failure::failed)?;
    let inside = move || {
        let mut command = Command::new(&program);
        command.args(["selftest", "inside"]);
        command
    };
    let run = std::thread::Builder::new().name("selftest".to_owned()).spawn(move || run_all(&inside));
    let joined = run.map_err(Failure::failed)?.join();
    joined.map_err(|_| Failure::failed("the self-test stopped; its reason is above"))?.map_err(Failure::failed)
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Blocked => "blocked",
        Outcome::Bypassed => "BYPASSED",
        Outcome::Beyond => "not governed",
        Outcome::NotHere => "not here",
        Outcome::Unclear => "unclear",
    }
}

fn by(finding: &Finding) -> Option<&'static str> {
    finding.by.map(sekisho_kernel::Hook::name)
}

fn document(report: &Report, capabilities: &[Capability]) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "technique": finding.technique,
            "about": finding.about,
            "outcome": word(&finding.outcome).to_lowercase().replace(' ', "_"),
            "by": by(finding),
            "why": finding.why,
        })
    });
    let programs = report.programs.iter().map(|(name, tag)| json!({"program": name, "tag": tag}));
    let capabilities = capabilities.iter().map(|one| {
        json!({
            "name": one.name,
            "present": one.present,
            "found": one.found,
            "required": one.required,
            "without": one.without,
        })
    });
    json!({
        "kernel": report.kernel,
        "bypasses": report.count(&Outcome::Bypassed),
        "findings": findings.collect::<Vec<_>>(),
        "programs": programs.collect::<Vec<_>>(),
        "capabilities": capabilities.collect::<Vec<_>>(),
    })
}

fn text(report: &Report, format: Format) -> String {
    let columns: [Column<'_, Finding>; 4] = [
        ("TECHNIQUE", &|finding| match format {
            Format::Wide => format!("{}: {}", finding.technique, finding.about),
            _ => finding.technique.to_owned(),
        }),
        ("RESULT", &|finding| word(&finding.outcome).to_owned()),
        ("BY", &|finding| or_dash(by(finding))),
        ("WHY", &|finding| finding.why.clone()),
    ];
    format!(
        "{}\n\nLinux {}: {} blocked, {} bypassed, {} not governed by rules of the network, {} not possible here, \
         {} unclear",
        table(&report.findings, &columns),
        report.kernel,
        report.count(&Outcome::Blocked),
        report.count(&Outcome::Bypassed),
        report.count(&Outcome::Beyond),
        report.count(&Outcome::NotHere),
        report.count(&Outcome::Unclear),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bypass_is_a_negative_answer() {
        let finding = |outcome| Finding { technique: "t", about: "", outcome, by: None, why: String::new() };
        let exit = |outcomes: &[Outcome]| {
            let findings = outcomes.iter().cloned().map(finding).collect();
            judged(&Report { kernel: String::new(), findings, programs: vec![] }).map_err(|failure| failure.exit)
        };
        assert_eq!(exit(&[Outcome::Blocked, Outcome::Beyond, Outcome::NotHere]), Ok(Exit::Ok));
        assert_eq!(exit(&[Outcome::Blocked, Outcome::Unclear]), Err(Exit::Failed));
        assert_eq!(exit(&[Outcome::Unclear, Outcome::Bypassed]), Err(Exit::Denied));
    }
}
