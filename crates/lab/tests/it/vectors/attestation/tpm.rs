use std::collections::BTreeMap;

use sekisho_evidence::HashAlgorithm;
use sekisho_evidence::boot::EventLog;
use sekisho_evidence::ima::ImaLog;
use sekisho_evidence::tpm::{Expected, PcrValues, QuotedState, Signed, TpmClaims, TpmEvidence, TpmRefusal, verify};
use serde_json::Value;

use super::{Case, each_case, facts};

#[test]
fn tpm_evidence_gets_its_verdict() {
    each_case("tpm", |case| {
        let verdict = judge(case);
        let mut wrong = vec![];
        match &verdict {
            Ok(_) if !case.is("appraisal", "accept") => wrong.push("accepted".to_owned()),
            Err(refusal) if !case.is("appraisal", "refuse") => wrong.push(format!("refused: {refusal}")),
            Err(refusal) => {
                let expected = if refusal.is_signature() { "fail" } else { "ok" };
                if !case.is("signature", "unknown") && !case.is("signature", expected) {
                    wrong.push(format!("refused for another reason: {refusal}"));
                }
            }
            Ok(_) => {}
        }
        let found = facts::of_tpm(case, verdict.as_ref().ok());
        wrong.extend(case.other_facts(&found));
        wrong
    });
}

fn judge(case: &Case) -> Result<TpmClaims, TpmRefusal> {
    let file = |role| case.file(role).unwrap();
    let (ek_certificate, ek_public, ak_public) = (file("ek_cert"), file("ek_pub"), file("ak_pub"));
    let ek_chain = Case::certificates(case.file("chain"));
    let (quote, quote_signature) = (file("quote"), file("quote_signature"));
    let certified = case.file("certify").map(|certify| (file("svid_key_pub"), certify, file("certify_signature")));
    let event_log = case.file("event_log").map(|log| EventLog::parse(&log)).transpose()?;
    let ima_log = case.file("ima_log_binary").map(|log| ImaLog::parse_binary(&log)).transpose()?;
    let evidence = TpmEvidence {
        ek_certificate: &ek_certificate,
        ek_chain: &ek_chain,
        ek_public: &ek_public,
        ak_public: &ak_public,
        state: QuotedState {
            quote: Signed { attest: &quote, signature: &quote_signature },
            pcrs: &pcrs(&case.json("pcrs").unwrap()),
            event_log: event_log.as_ref(),
            ima_log: ima_log.as_ref(),
        },
        certified: certified.as_ref().map(|(public, attest, signature)| (&**public, Signed { attest, signature })),
    };
    let (nonce, allowed) = (case.nonce(), case.allowed_digests());
    let expected = Expected {
        nonce: &nonce,
        selection: None,
        logged: &std::array::from_fn::<u8, 24, _>(|index| index as u8),
        needs_safe_clock: true,
        ima_state: None,
        ima_digests: allowed.as_ref(),
    };
    verify(&evidence, &expected, &case.anchors(), case.at()).map(|claims| claims.into_inner())
}

/// The values that belong to the quote, or that a forger claims.
fn pcrs(file: &Value) -> PcrValues {
    let values = file.get("quoted").or_else(|| file.get("claimed")).unwrap();
    PcrValues { bank: HashAlgorithm::Sha256, values: values_of(values) }
}

pub(super) fn values_of(values: &Value) -> BTreeMap<u8, Vec<u8>> {
    let one =
        |(index, value): (&String, &Value)| (index.parse().unwrap(), hex::decode(value.as_str().unwrap()).unwrap());
    values.as_object().unwrap().iter().map(one).collect()
}
