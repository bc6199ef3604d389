//! Against a software TPM: `swtpm`, with a certificate authority of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use sekisho_evidence::HashAlgorithm::Sha256;
use sekisho_evidence::tpm::{
    CredentialSeed, Expected, PcrSelection, QuotedState, Signed, TpmClaims, TpmEvidence, TpmRefusal, make_credential,
    verify,
};
use sekisho_ports::instant;
use sekisho_types::{Signer as _, UnixTime};

use super::*;

const NONCE: &[u8] = b"a nonce of the server's";
const ALL: [u8; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14];

/// A running software TPM.
struct Software {
    folder: tempfile::TempDir,
    program: Child,
}

impl Drop for Software {
    fn drop(&mut self) {
        let _dead = self.program.kill();
        let _reaped = self.program.wait();
    }
}

fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

impl Software {
    /// A new TPM, or `None` with a printed line where the programs are absent.
    fn new() -> Option<Self> {
        if !["swtpm", "swtpm_setup", "swtpm_localca"].into_iter().all(has_program) {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let _unread = writeln!(std::io::stderr().lock(), "\nskipped: {test}: no swtpm; install swtpm-tools");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::fs::create_dir(folder.path().join("ca")).unwrap();
        write(
            "setup.conf",
            format!(
                "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {at}/localca.conf\n\
                 create_certs_tool_options = {at}/options\nactive_pcr_banks = sha256\n"
            ),
        );
        write(
            "localca.conf",
            format!(
                "statedir = {at}/ca\nsigningkey = {at}/ca/key.pem\nissuercert = {at}/ca/issuer.pem\n\
                 certserial = {at}/ca/serial\n"
            ),
        );
        write(
            "options",
            "--tpm-manufacturer id:00001014\n--tpm-model swtpm\n--tpm-version 1\n--platform-manufacturer sekisho\n\
             --platform-version 1\n--platform-model lab\n"
                .to_owned(),
        );
        let setup = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--lock-nvram", "--overwrite", "--vmid", "node-1", "--tpmstate"])
            .arg(folder.path().join("state"))
            .arg("--config")
            .arg(folder.path().join("setup.conf"))
            .output()
            .unwrap();
        assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stdout));
        let program = Self::start(folder.path());
        Some(Self { folder, program })
    }

    fn start(folder: &Path) -> Child {
        let _stale = std::fs::remove_file(folder.join("tpm.sock"));
        let state = format!("dir={}/state", folder.display());
        let server = format!("type=unixio,path={}/tpm.sock", folder.display());
        let arguments = ["socket", "--tpm2", "--tpmstate", &state, "--server", &server];
        Command::new("swtpm").args(arguments).args(["--flags", "not-need-init,startup-clear"]).spawn().unwrap()
    }

    /// Power off, power on.
    fn reboot(&mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
        self.program = Self::start(self.folder.path());
    }

    fn connect(&self) -> Tpm {
        let end = instant() + Duration::from_secs(20);
        loop {
            match Socket::connect(&self.folder.path().join("tpm.sock")) {
                Ok(socket) => return Tpm::new(socket),
                Err(error) if instant() > end => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn certificates(&self, name: &str) -> Vec<Vec<u8>> {
        let path: PathBuf = self.folder.path().join("ca").join(name);
        let pem = std::fs::read(path).unwrap();
        x509_parser::pem::Pem::iter_from_buffer(&pem).map(|pem| pem.unwrap().contents).collect()
    }
}

/// The keys of a node: endorsement, attestation, and one for an SVID.
struct Node {
    certificate: Vec<u8>,
    endorsement: Key,
    attestation: Key,
    svid: Key,
}

impl Node {
    fn new(tpm: &mut Tpm, template: Template) -> Self {
        let certificate = tpm.ek_certificate(template).unwrap().expect("swtpm_setup makes one");
        // Without a resource manager a TPM has space for three objects.
        let root = tpm.primary(Template::StorageRoot).unwrap();
        let stored = tpm.create(&root, Template::Svid).unwrap();
        let svid = tpm.load(&root, &stored).unwrap();
        tpm.flush(root).unwrap();
        let (endorsement, attestation) = (tpm.primary(template).unwrap(), tpm.primary(Template::Attestation).unwrap());
        Self { certificate, endorsement, attestation, svid }
    }

    fn evidence(&self, tpm: &mut Tpm, software: &Software) -> Result<TpmClaims, TpmRefusal> {
        let selection = PcrSelection::new(Sha256, ALL);
        let quote = tpm.quote(&self.attestation, NONCE, selection).unwrap();
        let certify = tpm.certify(&self.svid, &self.attestation, NONCE).unwrap();
        let pcrs = tpm.read_pcrs(selection).unwrap();
        let evidence = TpmEvidence {
            ek_certificate: &self.certificate,
            ek_chain: &software.certificates("issuer.pem"),
            ek_public: &self.endorsement.public_bytes,
            ak_public: &self.attestation.public_bytes,
            state: QuotedState {
                quote: Signed { attest: &quote.attest, signature: &quote.signature },
                pcrs: &pcrs,
                event_log: None,
                ima_log: None,
            },
            certified: Some((
                &self.svid.public_bytes,
                Signed { attest: &certify.attest, signature: &certify.signature },
            )),
        };
        let expected = Expected {
            nonce: NONCE,
            selection: Some(selection),
            needs_safe_clock: false,
            ima_state: None,
            ima_digests: None,
        };
        let roots = software.certificates("swtpm-localca-rootca-cert.pem");
        verify(&evidence, &expected, &roots, now()).map(|claims| claims.into_inner())
    }
}

#[expect(clippy::disallowed_methods, reason = "the certificates are made now, by another program")]
fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixTime::from_seconds(i64::try_from(since.as_secs()).unwrap() + 2)
}

#[test]
fn a_software_tpm_proves_itself() {
    let Some(software) = Software::new() else { return };
    let mut tpm = software.connect();
    for template in [Template::EkRsa2048, Template::EkP384] {
        let node = Node::new(&mut tpm, template);
        let claims = node.evidence(&mut tpm, &software).unwrap();
        assert_eq!(claims.endorsement.model, "swtpm");
        assert!(claims.state.counters_are_true);
        assert_eq!(claims.key.unwrap().name, node.svid.public.name());

        let secret = [7; 32];
        let seed = CredentialSeed { bytes: &[0x5a; 48] };
        let name = node.attestation.public.name();
        let made = make_credential(&node.endorsement.public, &name, &secret, seed).unwrap();
        let activate = |tpm: &mut Tpm, by: &Key| {
            tpm.activate_credential(&node.endorsement, by, &made.credential, &made.encrypted_seed)
        };
        assert_eq!(activate(&mut tpm, &node.attestation).unwrap(), secret);
        let other = activate(&mut tpm, &node.svid).unwrap_err();
        assert!(matches!(other, TpmError::Refused { code: 0x1df, .. }), "{other}");
        for key in [node.endorsement, node.attestation, node.svid] {
            tpm.flush(key).unwrap();
        }
    }
}

#[test]
fn a_restricted_key_signs_no_forged_quote() {
    let Some(software) = Software::new() else { return };
    let mut tpm = software.connect();
    let attestation = tpm.primary(Template::Attestation).unwrap();
    let refused = tpm.sign(&attestation, &Sha256.digest([&b"\xffTCG\x80\x18"[..]])).unwrap_err();
    assert!(matches!(refused, TpmError::Refused { code: 0x3e0, .. }), "{refused}");
}

#[test]
fn keys_are_the_same_after_a_reboot() {
    let Some(mut software) = Software::new() else { return };
    let mut tpm = software.connect();
    let before = Node::new(&mut tpm, Template::EkRsa2048);
    let first = before.evidence(&mut tpm, &software).unwrap();
    drop(tpm);
    software.reboot();
    let mut tpm = software.connect();
    let after = Node::new(&mut tpm, Template::EkRsa2048);
    assert_eq!(before.endorsement.public_bytes, after.endorsement.public_bytes);
    assert_eq!(before.attestation.public_bytes, after.attestation.public_bytes);
    let second = after.evidence(&mut tpm, &software).unwrap();
    assert!(first.state.clock.safe && !second.state.clock.safe, "the power was lost");
    assert_eq!(second.state.clock.reset_count, first.state.clock.reset_count + 1);
}

#[test]
fn a_copied_key_is_useless_elsewhere() {
    let (Some(one), Some(other)) = (Software::new(), Software::new()) else { return };
    let (mut one, mut other) = (one.connect(), other.connect());
    let (root, foreign) = (one.primary(Template::StorageRoot).unwrap(), other.primary(Template::StorageRoot).unwrap());
    let stored = one.create(&root, Template::Svid).unwrap();
    one.load(&root, &stored).unwrap();
    let refused = other.load(&foreign, &stored).unwrap_err();
    assert!(matches!(refused, TpmError::Refused { command: "TPM2_Load", .. }), "{refused}");
}

#[test]
fn signatures_verify_with_the_public_key() {
    let Some(software) = Software::new() else { return };
    let mut tpm = software.connect();
    let svid = Node::new(&mut tpm, Template::EkRsa2048).svid;
    let signer = TpmSigner::new(Arc::new(Mutex::new(tpm)), svid).unwrap();
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, signer.public_key_der()).unwrap();
    let started = instant();
    for message in 0..20u8 {
        public.verify_sig(&[message], &signer.sign(&[message]).unwrap()).unwrap();
    }
    println!("a signature by the software TPM: {:?}", started.elapsed() / 20);
}
