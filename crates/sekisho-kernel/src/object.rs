//! The compiled object: its programs, and where they name maps. It is ours and part of this binary, so what this reader
//! does not know is an error of the build, never of a user.

/// A program of the object.
#[derive(Debug)]
pub(crate) struct Program {
    /// The section, such as `cgroup/connect4`.
    pub section: String,
    pub code: Vec<u8>,
    /// Offsets of instructions that load a map, with its name.
    pub maps: Vec<(usize, String)>,
}

#[derive(Debug)]
pub(crate) struct Object {
    pub programs: Vec<Program>,
    pub licence: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    name: usize,
    kind: u32,
    at: usize,
    size: usize,
    link: usize,
    of: usize,
}

const SYMBOLS: u32 = 2;
const RELOCATIONS: u32 = 9;
const TO_A_MAP: u32 = 1;

/// A part of the file, or nothing where the file is too short.
struct File<'a>(&'a [u8]);

impl<'a> File<'a> {
    fn part(&self, at: usize, size: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(size)?)
    }

    fn number<const SIZE: usize>(&self, at: usize) -> Option<[u8; SIZE]> {
        self.part(at, SIZE)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<usize> {
        self.number(at).map(|n| u16::from_le_bytes(n).into())
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.number(at).map(u32::from_le_bytes)
    }

    fn word(&self, at: usize) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(self.number(at)?)).ok()
    }

    fn text(&self, at: usize) -> Option<String> {
        let rest = self.0.get(at..)?;
        let text = rest.split(|byte| *byte == 0).next()?;
        String::from_utf8(text.to_vec()).ok()
    }

    fn sections(&self) -> Option<Vec<Section>> {
        let (first, size, count) = (self.word(40)?, self.u16(58)?, self.u16(60)?);
        (0..count).map(|index| self.section(first.checked_add(index.checked_mul(size)?)?)).collect()
    }

    fn section(&self, at: usize) -> Option<Section> {
        Some(Section {
            name: self.u32(at)? as usize,
            kind: self.u32(at + 4)?,
            at: self.word(at + 24)?,
            size: self.word(at + 32)?,
            link: self.u32(at + 40)? as usize,
            of: self.u32(at + 44)? as usize,
        })
    }
}

/// Reads a little-endian object of 64 bits for the kernel's machine.
pub(crate) fn read(bytes: &[u8]) -> Option<Object> {
    const BPF: usize = 247;
    let file = File(bytes);
    if file.part(0, 6)? != b"\x7fELF\x02\x01" || file.u16(18)? != BPF {
        return None;
    }
    let sections = file.sections()?;
    let names = sections.get(file.u16(62)?)?.at;
    let mut object = Object { programs: Vec::new(), licence: Vec::new() };
    for (index, section) in sections.iter().enumerate() {
        let name = file.text(names.checked_add(section.name)?)?;
        if name == "license" {
            object.licence = file.part(section.at, section.size)?.to_vec();
        } else if name.starts_with("cgroup") {
            let mut maps = Vec::new();
            for relocations in sections.iter().filter(|other| other.kind == RELOCATIONS && other.of == index) {
                maps.extend(named_maps(&file, &sections, relocations)?);
            }
            let code = file.part(section.at, section.size)?.to_vec();
            object.programs.push(Program { section: name, code, maps });
        }
    }
    Some(object)
}

fn named_maps(file: &File<'_>, sections: &[Section], relocations: &Section) -> Option<Vec<(usize, String)>> {
    let symbols = sections.get(relocations.link).filter(|symbols| symbols.kind == SYMBOLS)?;
    let strings = sections.get(symbols.link)?;
    let rows = (0..relocations.size / 16).map(|row| {
        let at = relocations.at.checked_add(row * 16)?;
        // Other kinds would be calls and constants; the source has none.
        if file.u32(at + 8)? != TO_A_MAP {
            return None;
        }
        let symbol = symbols.at.checked_add((file.u32(at + 12)? as usize).checked_mul(24)?)?;
        let name = file.text(strings.at.checked_add(file.u32(symbol)? as usize)?)?;
        Some((file.word(at)?, name))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &[u8] = include_bytes!("../bpf/network.bpf.o");

    #[test]
    fn the_object_has_its_programs_and_maps() {
        let object = read(OBJECT).unwrap();
        let mut sections: Vec<&str> = object.programs.iter().map(|program| program.section.as_str()).collect();
        sections.sort_unstable();
        let expected = "cgroup/bind4 cgroup/bind6 cgroup/connect4 cgroup/connect6 cgroup/sendmsg4 cgroup/sendmsg6 \
                        cgroup/sock_create cgroup/sock_release cgroup_skb/egress cgroup_skb/ingress";
        assert_eq!(sections.join(" "), expected);
        assert!(object.programs.iter().all(|program| program.maps.iter().any(|(_, map)| map == "workloads")));
        assert_eq!(object.licence, b"Apache-2.0\0");
    }

    #[test]
    fn a_cut_object_is_refused() {
        for length in (0..OBJECT.len()).step_by(97) {
            let _no_panic = read(&OBJECT[..length]);
        }
        assert!(read(&OBJECT[..OBJECT.len() / 2]).is_none());
    }
}
