//! What attestation costs, with a software TPM. These print figures for docs/performance.md.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sekisho_evidence::HashAlgorithm::Sha256;
use sekisho_evidence::node::{NodeProof as _, QUOTED_PCRS, Step, attestor};
use sekisho_evidence::tpm::{
    CredentialSeed, Expected, PcrSelection, QuotedState, Signed, TpmSignature, make_credential, verify_state,
};
use sekisho_tpm::{Template, TpmProof};
use sekisho_types::SpiffeId;

use super::attestor::{Exchange, session};
use super::measured::Measured;
use super::{ISSUER, ROOT, Software};
use crate::world::{Role, World, cpu_micros, eventually};

const ROUNDS: usize = 40;

/// The median of what `work` takes.
fn median(mut work: impl FnMut()) -> Duration {
    let mut all: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    all.sort_unstable();
    all[ROUNDS / 2]
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// A whole attestation beside the operations of the TPM that it consists of, over the same socket.
#[test]
#[ignore = "it measures, and does not test"]
fn an_enrolment_beside_its_tpm_operations() {
    let Some(software) = Software::new() else { return };
    let (exchange, proof) = Exchange::new(&software);
    let whole = median(|| drop(exchange.attest(&proof).1.unwrap()));
    let with_key = median(|| {
        let proof = TpmProof::open(&software.socket(), software.certificates(ISSUER)).unwrap();
        proof.key().unwrap();
    });
    drop(proof);

    let mut tpm = software.connect();
    let selection = PcrSelection::new(Sha256, QUOTED_PCRS);
    let primary = |tpm: &mut sekisho_tpm::Tpm, template| {
        let key = tpm.primary(template).unwrap();
        tpm.flush(key).unwrap();
    };
    let certificate = median(|| drop(tpm.ek_certificate(Template::EkRsa2048).unwrap()));
    let endorsement = median(|| primary(&mut tpm, Template::EkRsa2048));
    let attestation = median(|| primary(&mut tpm, Template::Attestation));
    let (ek, ak) = (tpm.primary(Template::EkRsa2048).unwrap(), tpm.primary(Template::Attestation).unwrap());
    let made = make_credential(&ek.public, &ak.public.name(), &[7; 32], CredentialSeed { bytes: &[0x5a; 48] }).unwrap();
    let activation =
        median(|| drop(tpm.activate_credential(&ek, &ak, &made.credential, &made.encrypted_seed).unwrap()));
    let quote = median(|| drop(tpm.quote(&ak, b"nonce", selection).unwrap()));
    let pcrs = median(|| drop(tpm.read_pcrs(selection).unwrap()));
    // As `TpmProof` asks: certificate and both keys for the opening, and again for the answer.
    let raw = (certificate + endorsement + attestation) * 2 + activation + quote + pcrs;
    println!("a whole attestation: {whole:?}; its TPM operations alone: {raw:?}");
    println!("  certificate {certificate:?}, endorsement key {endorsement:?}, attestation key {attestation:?}");
    println!("  activation {activation:?}, quote {quote:?}, PCRs {pcrs:?}");
    println!("a new key for the SVID: {with_key:?}");
}

/// A quote's verification, with the part that is the signature library's.
#[test]
#[ignore = "it measures, and does not test"]
fn a_quote_s_verification() {
    let Some(software) = Software::new() else { return };
    let mut tpm = software.connect();
    let selection = PcrSelection::new(Sha256, QUOTED_PCRS);
    let ak = tpm.primary(Template::Attestation).unwrap();
    let (quote, pcrs) = (tpm.quote(&ak, b"nonce", selection).unwrap(), tpm.read_pcrs(selection).unwrap());
    let state = QuotedState {
        quote: Signed { attest: &quote.attest, signature: &quote.signature },
        pcrs: &pcrs,
        event_log: None,
        ima_log: None,
    };
    let expected = Expected {
        nonce: b"nonce",
        selection: Some(selection),
        logged: &[],
        needs_safe_clock: false,
        ima_state: None,
        ima_digests: None,
    };
    let whole = median(|| {
        for _ in 0..100 {
            verify_state(&ak.public, &state, &expected).unwrap();
        }
    }) / 100;
    let signature = median(|| {
        for _ in 0..100 {
            TpmSignature::parse(&quote.signature).unwrap().verify(&ak.public, &quote.attest).unwrap();
        }
    }) / 100;
    println!("a quote of {} PCRs: {whole:?}, of which the signature {signature:?}", pcrs.values.len());
}

/// What a server's rules cost for a node that shows its state again: the question, the quote, and new entries of IMA.
#[test]
#[ignore = "it measures, and does not test"]
fn a_repeated_attestation_s_rules() {
    let Some(machine) = Measured::new() else { return };
    machine.boot_event(4, b"a boot loader");
    for number in 0..2000 {
        machine.measure(1, &format!("/usr/bin/{number}"));
    }
    let (exchange, _) = Exchange::new(&machine.software);
    let proof = || {
        let chain = machine.software.certificates(ISSUER);
        TpmProof::open(&machine.software.socket(), chain).unwrap().with_logs(machine.logs())
    };
    exchange.attest(&proof()).1.unwrap();
    let id = SpiffeId::parse("spiffe://td.example/spire/agent/danger_software_tpm/x").unwrap();
    for new_entries in [0, 10, 100] {
        let mut spent = Duration::ZERO;
        for round in 0..ROUNDS {
            for number in 0..new_entries {
                machine.measure(2, &format!("/usr/bin/{new_entries}-{round}-{number}"));
            }
            let proof = proof();
            let mut timed = |work: &mut dyn FnMut() -> Step| {
                let began = thread_time();
                let step = work();
                spent += thread_time() - began;
                step
            };
            let given = || exchange.given(session(1, 1));
            let mut step =
                timed(&mut || attestor("danger_software_tpm").unwrap().again(&id, &given()).unwrap().unwrap());
            while let Step::Challenge(challenge, conversation) = step {
                let answer = proof.answer(&challenge, &session(1, 1)).unwrap();
                let mut waiting = Some(conversation);
                step = timed(&mut || waiting.take().unwrap().go_on(&answer, &given()).unwrap());
            }
            let Step::Proved(proved) = step else { panic!("it shows a good state") };
            exchange.keep(&proved);
        }
        let each = spent / u32::try_from(ROUNDS).unwrap();
        println!("with {new_entries} new entries: {each:?} of a core; {}", share(each));
    }
}

/// Of one core, for 1,000 nodes each minute.
fn share(each: Duration) -> String {
    format!("1,000 nodes each minute take {:.2} % of a core", each.as_secs_f64() * 1000.0 / 60.0 * 100.0)
}

/// What a whole server spends on a node that is asked for its state: TLS, gRPC, rules and the database, and the request
/// of the operator who asks.
#[test]
#[ignore = "it measures, and does not test"]
fn a_repeated_attestation_by_a_server() {
    const ASKED: u32 = 200;
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let world = World::with(&["--danger-software-tpm-ca", &software.authority(ROOT)]);
    let mut command = world.agent_command("n", &world.path("no-token"));
    command.arg("--tpm").arg(software.socket()).arg("--tpm-chain").arg(software.authority(ISSUER));
    let agent = Role::start(&mut command);
    agent.ready();
    let id = eventually("it is attested", || {
        let agents = world.json(&["agents", "list"]);
        let agent = agents.as_array()?.iter().find(|agent| agent["attestation_type"] == "danger_software_tpm")?.clone();
        Some(agent["id"].as_str()?.to_owned())
    });
    eventually("it shows its state", || (world.sekisho(&["agent", "attest", &id]).0 == 0).then_some(()));
    let body = format!("{{\"id\":\"{id}\"}}");
    let request = format!(
        "POST /v1/agents/attest HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let server = world.server.as_ref().unwrap().pid();
    let spent = |requests: u32, request: &str| {
        let before = cpu_micros(server);
        for _ in 0..requests {
            let mut stream = std::os::unix::net::UnixStream::connect(world.path("s/api.sock")).unwrap();
            let answer = crate::world::raw(&mut stream, request);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        Duration::from_secs_f64((cpu_micros(server) - before) / f64::from(requests) / 1e6)
    };
    let asked = spent(ASKED, &request);
    // The same without the node.
    let listed = spent(ASKED, "GET /v1/alerts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    println!("a server: {asked:?} for a question by an operator, {listed:?} for a request that asks no node");
    println!("{}", share(asked.saturating_sub(listed)));
}
