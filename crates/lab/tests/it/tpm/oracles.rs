//! Other programs on the same structures: tpm2-tools, and the crate `tpm2-protocol`. Where they read a structure, they
//! have to read what we read; where they make one, we have to take it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use sekisho_evidence::HashAlgorithm::{self, Sha256};
use sekisho_evidence::boot::EventLog;
use sekisho_evidence::tpm::{
    Attest, Attested, CredentialSeed, Expected, PcrSelection, PcrValues, QuotedState, Signed, make_credential,
    verify_certified, verify_state,
};
use sekisho_tpm::{Key, Socket, StoredKey, Template, Tpm, Transport};
use sekisho_types::Secret;
use tpm2_protocol::data::{TpmsAttest, TpmtPublic, TpmtSignature, TpmuAttest};
use tpm2_protocol::frame::{TpmCommand, TpmResponse};
use tpm2_protocol::{TpmMarshal, TpmUnmarshal, TpmWriter};

use super::measured::{Measured, event, spec_id};
use super::{Software, has_program};

const NONCE: &[u8] = b"a nonce of the server's";
const PCRS: [u8; 6] = [0, 4, 7, 10, 11, 14];

/// tpm2-tools, on a software TPM that serves one connection at a time: they run while ours is closed.
struct Tools {
    software: Software,
}

impl Tools {
    fn new() -> Option<Self> {
        if !has_program("tpm2_checkquote") {
            crate::world::skipped("no tpm2_checkquote; install tpm2-tools");
            return None;
        }
        let software = Software::new()?;
        drop(software.connect());
        Some(Self { software })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.software.folder.path().join(name)
    }

    /// Runs a tool in the TPM's folder.
    fn ask(&self, tool: &str, arguments: &[&str]) -> Output {
        let folder = self.software.folder.path();
        let tcti = format!("swtpm:path={}", self.software.socket().display());
        Command::new(tool).args(arguments).current_dir(folder).env("TPM2TOOLS_TCTI", tcti).output().unwrap()
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let done = self.ask(tool, arguments);
        let failure = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{tool} {arguments:?}: {failure}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Runs a tool that writes this file.
    fn made(&self, file: &str, tool: &str, arguments: &[&str]) -> Vec<u8> {
        self.run(tool, arguments);
        std::fs::read(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        std::fs::write(self.path(file), bytes).unwrap();
    }

    /// Removes what is loaded: a software TPM has space for three objects.
    fn flush(&self) {
        self.run("tpm2_flushcontext", &["-t"]);
    }

    fn connect(&self) -> Tpm {
        self.software.connect()
    }
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// A `TPM2B` of these bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Attestation key and key of an SVID, loaded so that the tools know their handles: [`FIRST`] and [`SECOND`].
fn keys(tpm: &mut Tpm) -> (Key, Key, StoredKey) {
    let root = tpm.primary(Template::StorageRoot).unwrap();
    let stored = tpm.create(&root, Template::Svid).unwrap();
    let svid = tpm.load(&root, &stored).unwrap();
    tpm.flush(root).unwrap();
    (tpm.primary(Template::Attestation).unwrap(), svid, stored)
}

const FIRST: &str = "0x80000000";
const SECOND: &str = "0x80000001";

#[test]
fn tpm2_tools_make_the_same_endorsement_keys() {
    let Some(tools) = Tools::new() else { return };
    for (kind, template) in [("rsa", Template::EkRsa2048), ("ecc", Template::EkP256), ("ecc384", Template::EkP384)] {
        let theirs = tools.made("ek", "tpm2_createek", &["-G", kind, "-c", "ek.ctx", "-u", "ek", "-f", "tpmt"]);
        tools.flush();
        let mut tpm = tools.connect();
        let ours = tpm.primary(template).unwrap();
        assert_eq!(hex(&ours.public_bytes), hex(&theirs), "{kind}");
        tpm.flush(ours).unwrap();
    }
}

#[test]
fn tpm2_tools_name_our_keys_alike() {
    let Some(tools) = Tools::new() else { return };
    let (ak, svid, _) = keys(&mut tools.connect());
    for (handle, key) in [(FIRST, ak), (SECOND, svid)] {
        let asked = ["-c", handle, "-n", "name", "-o", "public", "-f", "tpmt"];
        assert_eq!(hex(&tools.made("name", "tpm2_readpublic", &asked)), hex(&key.public.name()));
        assert_eq!(hex(&std::fs::read(tools.path("public")).unwrap()), hex(&key.public_bytes));
        // As a certificate has it.
        let der = tools.made("der", "tpm2_readpublic", &["-c", handle, "-o", "der", "-f", "der"]);
        assert_eq!(hex(&der), hex(&key.public.spki_der().unwrap()));
    }
}

fn state<'a>(attest: &'a [u8], signature: &'a [u8], pcrs: &'a PcrValues) -> QuotedState<'a> {
    QuotedState { quote: Signed { attest, signature }, pcrs, event_log: None, ima_log: None }
}

#[test]
fn tpm2_tools_and_we_take_each_others_quotes() {
    let Some(tools) = Tools::new() else { return };
    let selection = PcrSelection::new(Sha256, PCRS);
    let mut tpm = tools.connect();
    let (ak, ..) = keys(&mut tpm);
    let (ours, pcrs) = (tpm.quote(&ak, NONCE, selection).unwrap(), tpm.read_pcrs(selection).unwrap());
    drop(tpm);
    for (file, bytes) in [("ak", &ak.public_bytes), ("quote", &ours.attest), ("signature", &ours.signature)] {
        tools.write(file, bytes);
    }
    let check = |nonce: &[u8]| {
        let nonce = hex(nonce);
        tools.ask("tpm2_checkquote", &["-u", "ak", "-m", "quote", "-s", "signature", "-g", "sha256", "-q", &nonce])
    };
    let (good, other) = (check(NONCE), check(b"another nonce"));
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(!other.status.success(), "it looks at the nonce");

    let list = format!("sha256:{}", PCRS.map(|pcr| pcr.to_string()).join(","));
    let asked = ["-c", FIRST, "-l", &list, "-q", &hex(NONCE), "-m", "quote", "-s", "signature", "-g", "sha256"];
    let theirs = tools.made("quote", "tpm2_quote", &asked);
    let signature = std::fs::read(tools.path("signature")).unwrap();
    let expected = |nonce| Expected {
        nonce,
        selection: Some(selection),
        logged: &[],
        needs_safe_clock: false,
        ima_state: None,
        ima_digests: None,
    };
    let claims = verify_state(&ak.public, &state(&theirs, &signature, &pcrs), &expected(NONCE)).unwrap().into_inner();
    assert!(claims.counters_are_true);
    let by_tools = tools.run("tpm2_print", &["-t", "TPMS_ATTEST", "quote"]);
    for field in [
        format!("qualifiedSigner: {}", hex(&claims.qualified_signer)),
        format!("extraData: {}", hex(NONCE)),
        format!("resetCount: {}", claims.clock.reset_count),
        format!("restartCount: {}", claims.clock.restart_count),
        format!("pcrDigest: {}", hex(&claims.pcr_digest)),
    ] {
        assert!(by_tools.contains(&field), "{field}: {by_tools}");
    }
    assert!(verify_state(&ak.public, &state(&theirs, &signature, &pcrs), &expected(b"other")).is_err());
}

#[test]
fn tpm2_tools_and_we_take_each_others_certifications() {
    let Some(tools) = Tools::new() else { return };
    let mut tpm = tools.connect();
    let (ak, svid, _) = keys(&mut tpm);
    let ours = tpm.certify(&svid, &ak, NONCE).unwrap();
    drop(tpm);
    let asked = ["-c", SECOND, "-C", FIRST, "-g", "sha256", "-o", "attest", "-s", "signature"];
    let theirs = tools.made("attest", "tpm2_certify", &asked);
    let signature = std::fs::read(tools.path("signature")).unwrap();
    // The tool chooses what is signed beside the name.
    let chosen = Attest::parse(&theirs).unwrap().extra_data;
    let signed = Signed { attest: &theirs, signature: &signature };
    let certified = verify_certified(&ak.public, &svid.public_bytes, signed, &chosen).unwrap();
    assert_eq!(certified.name, svid.public.name());

    tools.flush();
    for (file, bytes) in [("ak", &sized(&ak.public_bytes)), ("ours", &ours.attest), ("ours.sig", &ours.signature)] {
        tools.write(file, bytes);
    }
    tools.run("tpm2_loadexternal", &["-C", "o", "-u", "ak", "-c", "ak.ctx"]);
    tools.flush();
    let verify = |signature: &str| {
        let done = tools.ask("tpm2_verifysignature", &["-c", "ak.ctx", "-g", "sha256", "-m", "ours", "-s", signature]);
        tools.flush();
        done.status.success()
    };
    assert!(verify("ours.sig"));
    assert!(!verify("signature"), "that is of another structure");
}

/// The tools' file of a credential: a magic number, a version, and both parts with their lengths.
const CREDENTIAL: [u8; 8] = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];

fn parts(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let sized = |bytes: &[u8]| {
        let (length, rest) = bytes.split_first_chunk::<2>().unwrap();
        let (part, rest) = rest.split_at(u16::from_be_bytes(*length).into());
        (part.to_vec(), rest.to_vec())
    };
    let (credential, rest) = sized(file.strip_prefix(&CREDENTIAL).unwrap());
    let (seed, rest) = sized(&rest);
    assert!(rest.is_empty());
    (credential, seed)
}

#[test]
fn tpm2_tools_and_we_open_each_others_credentials() {
    let Some(tools) = Tools::new() else { return };
    for (kind, template) in [("rsa", Template::EkRsa2048), ("ecc", Template::EkP256)] {
        let secret = [7; 32];
        tools.write("secret", &secret);
        let mut tpm = tools.connect();
        let (ek, ak) = (tpm.primary(template).unwrap(), tpm.primary(Template::Attestation).unwrap());
        // `TPM2B_PUBLIC`
        tools.write("ek", &sized(&ek.public_bytes));
        let name = hex(&ak.public.name());
        let asked = ["-T", "none", "-u", "ek", "-s", "secret", "-n", &name, "-o", "credential"];
        let (credential, seed) = parts(&tools.made("credential", "tpm2_makecredential", &asked));
        assert_eq!(tpm.activate_credential(&ek, &ak, &credential, &seed).unwrap(), secret, "{kind}");

        let fresh = CredentialSeed { bytes: &[0x5a; 48] };
        let made = make_credential(&ek.public, &ak.public.name(), &secret, fresh).unwrap();
        drop(tpm);
        let file = [&CREDENTIAL[..], &sized(&made.credential), &sized(&made.encrypted_seed)].concat();
        tools.write("ours", &file);
        tools.run("tpm2_startauthsession", &["--policy-session", "-S", "session"]);
        tools.run("tpm2_policysecret", &["-S", "session", "-c", "e"]);
        let asked = ["-C", FIRST, "-c", SECOND, "-i", "ours", "-o", "opened", "-P", "session:session"];
        assert_eq!(tools.made("opened", "tpm2_activatecredential", &asked), secret, "{kind}");
        tools.run("tpm2_flushcontext", &["session"]);
        tools.flush();
    }
}

#[test]
fn tpm2_tools_read_the_same_pcrs() {
    let Some(tools) = Tools::new() else { return };
    let machine = Measured { software: tools.software };
    for (pcr, byte) in PCRS.into_iter().zip(1..) {
        machine.extend(pcr, &[byte; 32]);
    }
    let tools = Tools { software: machine.software };
    let list = format!("sha256:{}", PCRS.map(|pcr| pcr.to_string()).join(","));
    let theirs = tools.made("pcrs", "tpm2_pcrread", &["-o", "pcrs", &list]);
    let ours = tools.connect().read_pcrs(PcrSelection::new(Sha256, PCRS)).unwrap();
    assert_eq!(hex(&theirs), hex(&ours.values.values().flatten().copied().collect::<Vec<u8>>()));
    assert_eq!(ours.values.keys().copied().collect::<Vec<_>>(), PCRS);
}

/// What an event log says: the PCR and digests of each event, and the values that it gives.
type Read = (Vec<(u8, Vec<String>)>, BTreeMap<(String, u8), String>);

/// From the text of `tpm2_eventlog`, line by line: that of older logs is not YAML.
fn read_by_tools(text: &str) -> Read {
    let (mut events, mut values, mut bank) = (vec![], BTreeMap::new(), None::<String>);
    let (listed, replayed) = text.split_once("\npcrs:").unwrap_or((text, ""));
    for line in listed.lines().map(str::trim) {
        let line = line.trim_start_matches("- ");
        if let Some(pcr) = line.strip_prefix("PCRIndex: ") {
            events.push((pcr.parse().unwrap_or(0), vec![]));
        } else if let (Some(digest), Some((_, digests))) = (line.strip_prefix("Digest: "), events.last_mut()) {
            digests.push(digest.trim_matches('"').to_owned());
        }
    }
    for line in replayed.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (line.split_once(" : "), &bank) {
            (Some((pcr, value)), Some(bank)) => {
                let value = value.trim().trim_start_matches("0x").to_owned();
                values.insert((bank.clone(), pcr.trim().parse().unwrap()), value);
            }
            _ => bank = Some(line.trim_end_matches(':').to_owned()),
        }
    }
    (events, values)
}

fn read_by_us(bytes: &[u8]) -> Read {
    let log = EventLog::parse(bytes).unwrap();
    let events = log.events.iter().map(|event| (event.pcr, event.digests.values().map(|d| hex(d)).collect()));
    let values = log.banks.iter().flat_map(|bank| {
        let replayed = log.replay(*bank).unwrap();
        replayed.into_iter().map(|(pcr, value)| ((bank.name().to_owned(), pcr), hex(&value))).collect::<Vec<_>>()
    });
    (events.collect(), values.collect())
}

#[test]
fn tpm2_tools_read_the_same_event_logs() {
    if !has_program("tpm2_eventlog") {
        return crate::world::skipped("no tpm2_eventlog; install tpm2-tools");
    }
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    let events = [(4, "a loader"), (11, "a kernel"), (4, "another")];
    let written = events.map(|(pcr, data)| event(pcr, 13, &Sha256.digest([data.as_bytes()]), data.as_bytes()));
    std::fs::write(&own, [spec_id(), written.concat()].concat()).unwrap();
    let mut logs = vec![own];
    if let Some(vectors) = crate::vectors::folder("attestation") {
        let found = std::fs::read_dir(vectors.join("eventlog")).unwrap().map(|item| item.unwrap().path());
        logs.extend(found.map(|folder| folder.join("binary_bios_measurements.bin")).filter(|log| log.exists()));
    }
    for log in logs {
        let done = Command::new("tpm2_eventlog").arg(&log).output().unwrap();
        assert!(done.status.success(), "{}", log.display());
        let (mut theirs, values) = read_by_tools(&String::from_utf8_lossy(&done.stdout));
        let (ours, replayed) = read_by_us(&std::fs::read(&log).unwrap());
        // They list the event that describes the log as well.
        if theirs.len() == ours.len() + 1 {
            theirs.remove(0);
        }
        let sorted = |read: Vec<(u8, Vec<String>)>| {
            let one = |(pcr, mut digests): (u8, Vec<String>)| {
                digests.sort_unstable();
                (pcr, digests)
            };
            read.into_iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(sorted(ours), sorted(theirs), "{}", log.display());
        assert!(!values.is_empty(), "{}", log.display());
        for (of, value) in values {
            assert_eq!(replayed.get(&of), Some(&value), "{} {of:?}", log.display());
        }
    }
}

/// A command and its response.
type Frame = (Vec<u8>, Vec<u8>);

/// A transport that keeps what passes.
struct Recorder {
    socket: Socket,
    frames: Arc<Mutex<Vec<Frame>>>,
}

impl Transport for Recorder {
    fn transact(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let response = self.socket.transact(command)?;
        self.frames.lock().unwrap().push((command.to_vec(), response.clone()));
        Ok(response)
    }
}

/// Every command of the client once.
fn everything(tpm: &mut Tpm) -> (Vec<Vec<u8>>, Vec<Frame>) {
    let mut publics = vec![];
    let (ak, svid, stored) = keys(tpm);
    let selection = PcrSelection::new(Sha256, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14]);
    let quote = tpm.quote(&ak, NONCE, selection).unwrap();
    let certify = tpm.certify(&svid, &ak, NONCE).unwrap();
    let signature = tpm.sign(&svid, &[7; 32]).unwrap();
    tpm.read_pcrs(selection).unwrap();
    publics.extend([ak.public_bytes.clone(), stored.public]);
    tpm.flush(svid).unwrap();
    for template in [Template::EkRsa2048, Template::EkP256, Template::EkP384] {
        tpm.ek_certificate(template).unwrap();
        let ek = tpm.primary(template).unwrap();
        let seed = CredentialSeed { bytes: &[0x5a; 48] };
        let made = make_credential(&ek.public, &ak.public.name(), &[7; 32], seed).unwrap();
        tpm.activate_credential(&ek, &ak, &made.credential, &made.encrypted_seed).unwrap();
        publics.push(ek.public_bytes.clone());
        tpm.flush(ek).unwrap();
    }
    let root = tpm.primary(Template::StorageRoot).unwrap();
    let sealed = tpm.seal(&root, &Secret::new(vec![7; 32])).unwrap();
    tpm.unseal(&root, &sealed).unwrap();
    publics.push(root.public_bytes.clone());
    let attested = vec![(quote.attest, quote.signature), (certify.attest, certify.signature), (vec![], signature)];
    (publics, attested)
}

/// Reads a structure, and writes it again.
fn same<T: TpmUnmarshal + TpmMarshal>(bytes: &[u8]) -> T {
    let (value, rest) = T::unmarshal(bytes).unwrap();
    assert!(rest.is_empty(), "{} bytes are left", rest.len());
    let mut again = [0; 4096];
    let mut writer = TpmWriter::new(&mut again);
    value.marshal(&mut writer).unwrap();
    assert_eq!(hex(writer.as_bytes()), hex(bytes));
    value
}

#[test]
fn tpm2_protocol_reads_all_that_we_write() {
    let Some(software) = Software::new() else { return };
    drop(software.connect());
    let frames = Arc::<Mutex<Vec<_>>>::default();
    let recorder = Recorder { socket: Socket::connect(&software.socket()).unwrap(), frames: frames.clone() };
    let (publics, attested) = everything(&mut Tpm::new(recorder));
    let mut commands = BTreeMap::<String, usize>::new();
    for (sent, received) in frames.lock().unwrap().iter() {
        let command = TpmCommand::cast(sent).unwrap();
        command.validate().unwrap_or_else(|error| panic!("{error:?}: {}", hex(sent)));
        let code = command.cc().unwrap();
        *commands.entry(format!("{code:?}")).or_default() += 1;
        // A refusal has no body: one of the endorsement keys has no certificate.
        if received[6..10] != [0; 4] {
            continue;
        }
        let response = TpmResponse::cast(received).unwrap();
        response.validate(code).unwrap_or_else(|error| panic!("{code:?}: {error:?}: {}", hex(received)));
    }
    assert_eq!(commands.len(), 14, "all commands of the client: {commands:?}");
    for public in &publics {
        same::<TpmtPublic>(public);
    }
    for (attest, signature) in &attested {
        same::<TpmtSignature>(signature);
        if attest.is_empty() {
            continue;
        }
        let (theirs, ours) = (same::<TpmsAttest>(attest), Attest::parse(attest).unwrap());
        assert_eq!(theirs.extra_data.as_ref(), NONCE);
        assert_eq!(theirs.qualified_signer.as_ref(), ours.qualified_signer);
        match (theirs.attested, ours.body) {
            (TpmuAttest::Quote(quote), Attested::Quote { digest, .. }) => assert_eq!(quote.pcr_digest.as_ref(), digest),
            (TpmuAttest::Certify(key), Attested::Certify { name }) => assert_eq!(key.name.as_ref(), name),
            _ => panic!("they are of different kinds"),
        }
    }
}

#[test]
fn a_bank_of_each_algorithm_has_its_number() {
    for bank in HashAlgorithm::ALL {
        let (theirs, _) = tpm2_protocol::data::TpmAlgId::unmarshal(&bank.id().to_be_bytes()).unwrap();
        assert_eq!(format!("{theirs:?}").to_lowercase(), bank.name());
    }
}
