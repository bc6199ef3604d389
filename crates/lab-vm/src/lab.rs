//! What a case works with: a folder of its own, an authority of TPMs, a server, images and machines.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::evidence::Evidence;
use crate::host::{Node, Server, TRUST_DOMAIN};
use crate::image::{Contents, Image};
use crate::machine::{Boot, Firmware, Machine};
use crate::packages::Packages;
use crate::run::at;
use crate::tpm::Authority;

/// How long a change may take to reach an agent.
const DELIVERY: Duration = Duration::from_secs(20);

/// The surroundings of one case.
pub struct Lab<'a> {
    packages: &'a Packages,
    folder: tempfile::TempDir,
    authority: Authority,
    pub server: Server,
    times: RefCell<Vec<String>>,
}

impl<'a> Lab<'a> {
    /// # Errors
    /// A TPM that cannot be made, or a server that does not start.
    pub fn new(packages: &'a Packages) -> Result<Self, String> {
        // Paths of sockets have 107 bytes.
        let folder = tempfile::Builder::new().prefix("vm").tempdir_in("/tmp").map_err(|error| error.to_string())?;
        let authority = Authority::new(&folder.path().join("ca"))?;
        // The first TPM makes the authority's keys, which the server reads.
        authority.make(&folder.path().join("unused"))?;
        let server = Server::start(&packages.sekisho, &folder.path().join("server"), &authority.root())?;
        Ok(Self { packages, folder, authority, server, times: RefCell::default() })
    }

    /// What an image of this name has in it.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn contents(&self, name: &'static str) -> Result<Contents, String> {
        let agent = format!(
            "trust-domain = \"{TRUST_DOMAIN}\"\nserver = \"{}\"\ndata = \"/data/agent\"\n\
             trust-bundle = \"/etc/sekisho/bundle.pem\"\ntpm = \"/dev/tpmrm0\"\n\
             tpm-chain = \"/etc/sekisho/tpm-chain.pem\"\n",
            self.server.address()
        );
        let issuer = self.authority.issuer();
        let settings = [
            ("agent.toml", agent.into_bytes()),
            ("bundle.pem", self.server.text(&["bundle", "show", "--form", "pem"])?.into_bytes()),
            ("tpm-chain.pem", at(&issuer, std::fs::read(&issuer))?),
        ];
        let settings = settings.map(|(name, content)| (format!("etc/sekisho/{name}"), content));
        Ok(Contents::new(name, settings.into()))
    }

    /// # Errors
    /// See [`Image::build`].
    pub fn image(&self, contents: &Contents) -> Result<Image, String> {
        Image::build(self.packages, contents, self.folder.path())
    }

    /// The image with a signature, as this firmware measures it.
    ///
    /// # Errors
    /// See [`Image::signed`].
    pub fn signed(&self, image: &Image, firmware: Firmware) -> Result<Image, String> {
        image.signed(self.packages, if firmware == Firmware::Secure { &["--secure-boot"] } else { &[] })
    }

    /// A new machine with a new TPM.
    ///
    /// # Errors
    /// A TPM that cannot be made.
    pub fn machine(&self, name: &str, firmware: Firmware) -> Result<Machine<'a>, String> {
        self.machine_by(&self.authority, name, firmware)
    }

    /// A new machine with a TPM of an authority that the server does not know.
    ///
    /// # Errors
    /// A TPM that cannot be made.
    pub fn strange_machine(&self, name: &str) -> Result<Machine<'a>, String> {
        let authority = Authority::new(&self.path(&format!("{name}-ca")))?;
        self.machine_by(&authority, name, Firmware::Open)
    }

    fn machine_by(&self, authority: &Authority, name: &str, firmware: Firmware) -> Result<Machine<'a>, String> {
        let folder = self.path(name);
        let tpm = folder.join("tpm");
        authority.make(&tpm)?;
        Machine::new(self.packages, folder, tpm, firmware)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Boots a machine whose agent has to be admitted.
    ///
    /// # Errors
    /// It is not.
    pub fn admit<'m>(&self, machine: &'m Machine<'a>, image: &Image) -> Result<Boot<'m>, String> {
        let boot = self.boot(machine, image)?;
        boot.admitted()?;
        Ok(boot)
    }

    /// Boots a machine until its agent is ready or has stopped.
    ///
    /// # Errors
    /// It starts no agent.
    pub fn boot<'m>(&self, machine: &'m Machine<'a>, image: &Image) -> Result<Boot<'m>, String> {
        let boot = machine.boot(image)?;
        let times = (boot.started_after.as_secs_f64(), boot.answered_after.as_secs_f64());
        self.times.borrow_mut().push(format!("{:.1}+{:.1} s", times.0, times.1 - times.0));
        Ok(boot)
    }

    /// How long each boot took: until the first process, and from there until the agent's answer.
    pub fn times(&self) -> String {
        self.times.borrow().join(", ")
    }

    /// The only node that attested.
    ///
    /// # Errors
    /// There are several, or none.
    pub fn only_node(&self) -> Result<Node, String> {
        let nodes = self.server.nodes()?;
        match nodes.as_slice() {
            [node] => Ok(node.clone()),
            _ => Err(format!("{} nodes attested, not one", nodes.len())),
        }
    }

    /// Registers an identity for root's processes on nodes that booted this image, and returns it.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn register_for(&self, image: &Image) -> Result<String, String> {
        let (booted, service) = (format!("/booted/{}", image.name), format!("/service/of-{}", image.name));
        let pcr = |(pcr, value)| format!("tpm:pcr:{pcr}:{value}");
        let selectors: Vec<String> = image.pcrs().into_iter().map(pcr).collect();
        self.server.register(&booted, &format!("spiffe://{TRUST_DOMAIN}/spire/server"), &selectors)?;
        let parent = format!("spiffe://{TRUST_DOMAIN}{booted}");
        self.server.register(&service, &parent, &["unix:uid:0".to_owned()])?;
        Ok(format!("spiffe://{TRUST_DOMAIN}{service}"))
    }

    /// Waits until root's processes in a machine get an identity.
    ///
    /// # Errors
    /// They do not.
    pub fn gets(&self, boot: &mut Boot<'_>, identity: &str) -> Result<(), String> {
        let until = Instant::now() + DELIVERY;
        loop {
            let identities = boot.identities()?;
            if identities.iter().any(|own| own == identity) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the machine gets {identities:?} and not {identity}"));
            }
        }
    }

    /// Whether these images, each with further members, admit the boot that left this evidence; and why not.
    ///
    /// # Errors
    /// The policy cannot be judged.
    pub fn judges(&self, images: &[(&Image, Value)], evidence: &Evidence) -> Result<(bool, String), String> {
        let with = |(image, further): &(&Image, Value)| {
            let mut admitted = image.admitted();
            if let (Some(members), Some(more)) = (admitted.as_object_mut(), further.as_object()) {
                members.extend(more.clone());
            }
            admitted
        };
        let policy = json!({"images": images.iter().map(with).collect::<Vec<_>>()});
        let path = self.path("boot-policy.json");
        at(&path, std::fs::write(&path, policy.to_string()))?;
        let [policy, log] = [&path, &evidence.event_log].map(|path| path.display().to_string());
        self.server.asks(&["boot", "check", &policy, "--log", &log])
    }
}
