//! The cases: what is booted, and what the server has to answer.

mod images;
mod states;
mod tpms;

use crate::lab::Lab;

/// Something that happens to a machine.
pub struct Case {
    pub name: &'static str,
    /// What has to come of it.
    pub expected: &'static str,
    pub run: Run,
}

/// How a case is examined.
#[derive(Clone, Copy)]
pub enum Run {
    /// In virtual machines. Returns the verdict in words, or what differs from the expected one.
    Machines(fn(&Lab<'_>) -> Result<String, String>),
    /// Without machines, by this test of the package `lab`: what happens is between agent and server.
    Test(&'static str),
}

use Run::{Machines, Test};

pub const CASES: &[Case] = &[
    Case {
        name: "good-boot",
        expected: "admitted; PCRs, IMA's list and selectors are what `boot predict` computes",
        run: Machines(images::good_boot),
    },
    Case {
        name: "command-line",
        expected: "the changed event is named; no identity of the approved image",
        run: Machines(images::command_line),
    },
    Case {
        name: "implant",
        expected: "the changed event is named, IMA lists the implant; no identity of the approved image",
        run: Machines(images::implant),
    },
    Case {
        name: "older-image",
        expected: "admitted in its window only; the node stays, its identity goes",
        run: Machines(images::older_image),
    },
    Case {
        name: "secure-boot",
        expected: "a signed image is admitted with `tpm:secure_boot:true`; the firmware runs no unsigned one",
        run: Machines(images::secure_boot),
    },
    Case {
        name: "secure-boot-off",
        expected: "the policy refuses a signed image on firmware that does not check signatures",
        run: Machines(images::secure_boot_off),
    },
    Case {
        name: "violation",
        expected: "a running machine whose IMA log has a violation is withdrawn",
        run: Machines(states::violation),
    },
    Case {
        name: "copied-disk",
        expected: "another machine opens nothing of it and is another node; the first goes on",
        run: Machines(tpms::copied_disk),
    },
    Case {
        name: "unknown-tpm",
        expected: "a TPM of an authority that the server does not trust is refused",
        run: Machines(tpms::unknown_tpm),
    },
    Case {
        name: "truncated-log",
        expected: "a log that ends before the quoted state is refused",
        run: Test("a_truncated_log_is_refused"),
    },
    Case {
        name: "log-before-quote",
        expected: "a log that was read before the quote is refused",
        run: Test("a_log_before_the_quote_is_refused"),
    },
    Case {
        name: "reordered-log",
        expected: "a log in another order is refused",
        run: Test("a_reordered_log_is_refused"),
    },
    Case {
        name: "forged-key",
        expected: "an attestation key outside of the TPM is refused",
        run: Test("cve_2021_3406_a_forged_key_attests_nothing"),
    },
    Case { name: "no-log", expected: "a log is never left out", run: Test("an_event_log_is_never_left_out") },
    Case {
        name: "replayed-quote",
        expected: "a quote answers one question",
        run: Test("cve_2026_6420_a_quote_answers_one_question"),
    },
    Case {
        name: "relay",
        expected: "an activation for another connection or key is refused",
        run: Test("a_relayed_activation_is_refused"),
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn cases_have_different_names() {
        let mut names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn the_lab_has_the_named_tests() {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let folder = Path::new(&own).join("../lab/tests/it/tpm");
        let files =
            std::fs::read_dir(folder).unwrap().map(|item| std::fs::read_to_string(item.unwrap().path()).unwrap());
        let tests = files.collect::<String>();
        for case in CASES {
            let Run::Test(name) = case.run else { continue };
            assert!(tests.contains(&format!("fn {name}()")), "{}: no test {name}", case.name);
        }
    }
}
