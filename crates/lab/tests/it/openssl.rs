//! Certificates that our own writer would never write, made by OpenSSL.

use std::path::Path;
use std::process::Command;

pub struct Openssl {
    folder: tempfile::TempDir,
}

impl Openssl {
    /// With an authority for `example.org`.
    pub fn new() -> Self {
        let new = Self { folder: tempfile::tempdir().unwrap() };
        new.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 \
                 -subj /CN=authority \
                 -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign \
                 -addext subjectAltName=URI:spiffe://example.org
                 openssl x509 -in ca.pem -outform DER -out ca.der",
        );
        new
    }

    fn run(&self, script: &str) {
        let done = Command::new("sh").arg("-ec").arg(script).current_dir(self.folder.path()).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    pub fn authority(&self) -> Vec<u8> {
        self.read("ca.der")
    }

    pub fn authority_pem(&self) -> Vec<u8> {
        self.read("ca.pem")
    }

    pub fn authority_sha1(&self) -> String {
        self.run("sha1sum ca.der > ca.sha1");
        String::from_utf8(self.read("ca.sha1")).unwrap()[..40].to_owned()
    }

    /// A certificate (DER) for a public key (SubjectPublicKeyInfo, DER) whose private half is elsewhere.
    pub fn certificate_of(&self, public_key: &[u8], name: &str) -> Vec<u8> {
        std::fs::write(self.folder.path().join("k.der"), public_key).unwrap();
        self.run(&format!(
            "openssl pkey -pubin -inform DER -in k.der -out k.pem
             echo keyUsage=critical,digitalSignature > k.ext
             openssl x509 -new -force_pubkey k.pem -CA ca.pem -CAkey ca.key -days 2 -subj /CN={name} -extfile k.ext \
                 -outform DER -out k.crt"
        ));
        self.read("k.crt")
    }

    /// A request in DER.
    pub fn csr(&self, key: &str, options: &str) -> Vec<u8> {
        self.run(&format!("openssl req {key} -nodes -keyout r.key -outform DER -out r.csr -subj /C=US {options}"));
        self.read("r.csr")
    }

    /// A leaf below the authority in DER, and its key in PKCS #8.
    pub fn leaf(&self, name: &str, extensions: &str) -> (Vec<u8>, Vec<u8>) {
        self.leaf_with("ec -pkeyopt ec_paramgen_curve:P-256", "-CAcreateserial -days 1", name, extensions)
    }

    /// The same with any key, serial number and life; the authority lives for two days.
    pub fn leaf_with(&self, key: &str, options: &str, name: &str, extensions: &str) -> (Vec<u8>, Vec<u8>) {
        std::fs::write(self.folder.path().join("ext"), format!("{extensions}\n")).unwrap();
        self.run(&format!(
            "openssl req -newkey {key} -nodes -keyout l.key -out l.csr -subj '/CN={name}'
             openssl x509 -req -in l.csr -CA ca.pem -CAkey ca.key {options} -outform DER -out l.der -extfile ext
             openssl pkcs8 -topk8 -nocrypt -in l.key -outform DER -out l.p8"
        ));
        (self.read("l.der"), self.read("l.p8"))
    }

    /// A signature by the last leaf's RSA key: PSS with a salt of this length.
    pub fn sign_pss(&self, message: &[u8], salt: &str) -> Vec<u8> {
        std::fs::write(self.folder.path().join("message"), message).unwrap();
        self.run(&format!(
            "openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:{salt} -sign l.key \
             -out l.sig message"
        ));
        self.read("l.sig")
    }

    /// `node.pem` and `node.key` in another folder.
    pub fn node(&self, folder: &Path) {
        self.node_with(folder, "ec -pkeyopt ec_paramgen_curve:P-256", "basicConstraints=CA:false");
    }

    /// The same with any key and more extensions.
    pub fn node_with(&self, folder: &Path, key: &str, extensions: &str) {
        let extensions = format!("keyUsage=critical,digitalSignature\n{extensions}");
        self.leaf_with(key, "-CAcreateserial -days 1", "node-7", &extensions);
        self.run("openssl x509 -in l.der -inform DER -out l.pem");
        std::fs::write(folder.join("node.pem"), self.read("l.pem")).unwrap();
        std::fs::write(folder.join("node.key"), self.read("l.key")).unwrap();
    }
}
