use super::pe::PeImage;
use super::*;
use crate::HashAlgorithm::Sha256;

/// File alignment of the images made here.
const ALIGNMENT: usize = 512;

/// A PE32+ image with these sections.
pub(super) fn image(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"MZ".to_vec();
    out.resize(0x3c, 0);
    out.extend(0x80u32.to_le_bytes());
    out.resize(0x80, 0);
    out.extend(b"PE\0\0");
    out.extend(0x8664u16.to_le_bytes());
    out.extend(u16::try_from(sections.len()).unwrap().to_le_bytes());
    out.extend([0; 12]);
    out.extend(240u16.to_le_bytes());
    out.extend(0x22u16.to_le_bytes());
    let optional = out.len();
    out.resize(optional + 240, 0);
    out[optional..optional + 2].copy_from_slice(&0x20bu16.to_le_bytes());
    out[optional + 108..optional + 112].copy_from_slice(&16u32.to_le_bytes());
    let headers = (out.len() + 40 * sections.len()).next_multiple_of(ALIGNMENT);
    out[optional + 60..optional + 64].copy_from_slice(&u32::try_from(headers).unwrap().to_le_bytes());
    let mut at = headers;
    for (name, content) in sections {
        let mut field = name.as_bytes().to_vec();
        field.resize(8, 0);
        out.extend(field);
        let raw = content.len().next_multiple_of(ALIGNMENT);
        // Size and place in memory, then in the file; no relocations, no line numbers, no characteristics.
        for number in [content.len(), 0x1000 + at, raw, at, 0, 0, 0, 0] {
            out.extend(u32::try_from(number).unwrap().to_le_bytes());
        }
        at += raw;
    }
    out.resize(headers, 0);
    for (_, content) in sections {
        out.extend(*content);
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    }
    out
}

const MAGIC: &[u8] = b"#### LoaderInfo: systemd-stub 252.39-1 ####\0";

pub(super) fn unified(command_line: &[u8]) -> Vec<u8> {
    let kernel = image(&[(".text", b"a kernel")]);
    image(&[
        (".sdmagic", MAGIC),
        (".osrel", b"ID=lab\n"),
        (".cmdline", command_line),
        (".linux", &kernel),
        (".initrd", &archive(&[("init", b"#!/bin/sh\n")])),
    ])
}

/// A `cpio` archive of executable files.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = vec![];
    for (name, content) in files.iter().chain([&("TRAILER!!!", &b""[..])]) {
        let mode = if *name == "TRAILER!!!" { 0 } else { 0o100_755 };
        out.extend(b"070701");
        for field in [1, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            out.extend(format!("{field:08x}").into_bytes());
        }
        out.extend(name.bytes().chain([0]));
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(*content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// Gzip with one stored block.
fn gzip(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
    out.extend(b"a name\0");
    out.push(1);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(content);
    out.extend([0; 8]);
    out
}

fn digest(image: &[u8]) -> Vec<u8> {
    PeImage::parse(image).unwrap().authenticode(Sha256).unwrap()
}

/// Where the optional header begins in the images made here.
const OPTIONAL: usize = 0x80 + 24;

/// With a certificate table.
fn signed(mut image: Vec<u8>, certificates: &[u8]) -> Vec<u8> {
    let at = u32::try_from(image.len()).unwrap();
    let entry = OPTIONAL + 112 + 32;
    image[entry..entry + 4].copy_from_slice(&at.to_le_bytes());
    image[entry + 4..entry + 8].copy_from_slice(&u32::try_from(certificates.len()).unwrap().to_le_bytes());
    image.extend(certificates);
    image
}

#[test]
fn a_signature_does_not_change_the_digest() {
    let plain = unified(b"quiet");
    let mut other_checksum = signed(plain.clone(), &[7; 64]);
    other_checksum[OPTIONAL + 64] = 9;
    assert_eq!(digest(&plain), digest(&other_checksum));
}

#[test]
fn every_other_byte_is_in_the_digest() {
    let plain = unified(b"quiet");
    let before = digest(&plain);
    let is_left_out =
        |at: usize| (OPTIONAL + 64..OPTIONAL + 68).contains(&at) || (OPTIONAL + 144..OPTIONAL + 152).contains(&at);
    for at in 0..plain.len() {
        let mut changed = plain.clone();
        changed[at] ^= 1;
        let same = PeImage::parse(&changed).and_then(|image| image.authenticode(Sha256)).is_ok_and(|it| it == before);
        assert_eq!(same, is_left_out(at) && PeImage::parse(&changed).is_ok(), "byte {at}");
    }
    let longer = [&plain[..], b"more"].concat();
    assert_ne!(digest(&longer), before, "bytes after the sections are measured");
}

#[test]
fn a_cut_image_is_refused() {
    let whole = unified(b"quiet");
    for length in 0..whole.len() {
        Prediction::of(&whole[..length]).unwrap_err();
    }
}

#[test]
fn a_section_outside_the_file_is_refused() {
    let whole = unified(b"quiet");
    for (field, why) in [(8, "longer than its bytes"), (16, "outside the file"), (20, "outside the file")] {
        let mut lying = whole.clone();
        let at = OPTIONAL + 240 + field;
        lying[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let refused = Prediction::of(&lying).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn events_come_in_the_order_of_the_stub() {
    let predicted = Prediction::of(&unified(b"quiet")).unwrap();
    let what: Vec<_> = predicted.events.iter().filter(|event| event.pcr == 11).map(|event| &*event.what).collect();
    let wanted = [".linux", ".osrel", ".cmdline", ".initrd"].map(|name| [format!("{name} (name)"), name.to_owned()]);
    assert_eq!(what, wanted.concat());
    let name = Sha256.digest([b".cmdline\0".as_slice()]);
    let place = predicted.events.iter().position(|event| event.digest == name).unwrap();
    assert_eq!(predicted.events[place + 1].digest, Sha256.digest([b"quiet".as_slice()]));
    assert_eq!(predicted.pcrs().into_keys().collect::<Vec<_>>(), [4, 11]);
}

#[test]
fn secure_boot_measures_no_inner_kernel() {
    let image = unified(b"quiet");
    assert_eq!(Prediction::under_secure_boot(&image), Err(PredictError::Unsigned));
    let signed = signed(image, &[7; 64]);
    let (open, secure) = (Prediction::of(&signed).unwrap(), Prediction::under_secure_boot(&signed).unwrap());
    let (kernel, others) = open.events.split_last().unwrap();
    assert!(kernel.pcr == 4 && kernel.what.contains(".linux"), "{kernel:?}");
    assert_eq!(secure.events, others);
    let (open, secure) = (open.pcrs(), secure.pcrs());
    assert_ne!(open[&4], secure[&4]);
    assert_eq!(open[&11], secure[&11]);
}

#[test]
fn an_image_that_is_not_understood_is_refused() {
    let kernel = image(&[(".text", b"a kernel")]);
    let newer = b"#### LoaderInfo: systemd-stub 299 ####";
    let profile = image(&[(".sdmagic", MAGIC), (".linux", &kernel), (".profile", b"ID=a")]);
    let twice = image(&[(".sdmagic", MAGIC), (".linux", &kernel), (".linux", &kernel)]);
    for (image, why) in [
        (kernel.clone(), "no section `.sdmagic`"),
        (image(&[(".sdmagic", MAGIC)]), "no section `.linux`"),
        (image(&[(".sdmagic", b"something else"), (".linux", &kernel)]), "names no systemd-stub"),
        (image(&[(".sdmagic", newer), (".linux", &kernel)]), "version 299"),
        (profile, "`.profile`"),
        (twice, "two sections of one name"),
        (b"\x7fELF".to_vec(), "does not begin with `MZ`"),
    ] {
        let refused = Prediction::of(&image).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn files_of_an_initramfs_have_their_digests() {
    let early = archive(&[("kernel/x86/microcode", b"microcode")]);
    let main = archive(&[("init", b"#!/bin/sh\n"), ("./bin/busybox", b"\x7fELF"), ("empty", b"")]);
    let parts = [archive(&[("init", b"#!/bin/sh\n")]), archive(&[("./bin/busybox", b"\x7fELF"), ("empty", b"")])];
    let members: Vec<u8> = parts.iter().flat_map(|part| gzip(part)).collect();
    for initrd in [
        [early.clone(), main.clone()].concat(),
        [early.clone(), vec![0; 512], gzip(&main)].concat(),
        [early.clone(), members].concat(),
    ] {
        let files = super::initramfs::Initramfs::files(&initrd).unwrap().unwrap();
        let found: Vec<_> = files.iter().map(|file| &*file.path).collect();
        assert_eq!(found, ["/kernel/x86/microcode", "/init", "/bin/busybox"]);
        assert_eq!(files[2].sha256, Sha256.digest([b"\x7fELF".as_slice()]));
        assert!(files[2].is_executable);
    }
    let zstandard = [&early[..], &[0x28, 0xb5, 0x2f, 0xfd]].concat();
    assert_eq!(super::initramfs::Initramfs::files(&zstandard), Ok(None));
}

#[test]
fn a_damaged_initramfs_is_refused() {
    let whole = archive(&[("init", b"#!/bin/sh\n")]);
    for length in 6..whole.len() {
        assert!(super::initramfs::Initramfs::files(&whole[..length]).is_err(), "{length} bytes");
    }
    let mut packed = gzip(&whole);
    packed.truncate(40);
    super::initramfs::Initramfs::files(&packed).unwrap_err();
}
