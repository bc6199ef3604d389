//! Texts that arguments of built-in functions are made for: patterns, times, networks and others.

/// Any argument of a function.
const ANY: usize = usize::MAX;

/// Functions, or a family of them; which argument; and its texts.
type Row = (&'static [&'static str], usize, &'static [&'static str]);

/// The texts for an argument; none where any will do.
pub(crate) fn texts(name: &str, at: usize) -> &'static [&'static str] {
    let family = name.split('.').next().unwrap_or_default();
    let fits = |row: &&Row| (row.0.contains(&name) || row.0.contains(&family)) && (row.1 == at || row.1 == ANY);
    TEXTS.iter().find(fits).map_or(&[], |row| row.2)
}

/// The first row that fits counts.
const TEXTS: &[Row] = &[
    (&["glob.match"], 0, GLOBS),
    (&["glob.match"], 2, WORDS),
    (&["regex.globs_match"], ANY, GLOBS),
    (&["regex.replace"], 0, WORDS),
    (&["regex.replace"], 2, WORDS),
    (&["regex.match", "regex.split", "regex.find_n", "regex.find_all_string_submatch_n", "re_match"], 1, WORDS),
    (&["regex.template_match"], 1, WORDS),
    (&["regex", "re_match"], ANY, REGEXES),
    (&["sprintf"], 0, FORMATS),
    (&["time.parse_duration_ns"], ANY, DURATIONS),
    (&["time.parse_ns"], 0, LAYOUTS),
    (&["time.parse_rfc3339_ns", "time.parse_ns"], ANY, TIMES),
    (&["units"], ANY, UNITS),
    (&["json.unmarshal", "json.is_valid"], ANY, JSONS),
    (&["yaml.unmarshal", "yaml.is_valid"], ANY, YAMLS),
    (&["json.match_schema"], 1, SCHEMAS),
    (&["json.verify_schema"], 0, SCHEMAS),
    (&["json.patch"], 1, PATCHES),
    (&["json.filter", "json.remove"], 1, PATHS),
    (&["base64.decode", "base64.is_valid", "base64url.decode"], ANY, BASE64),
    (&["hex.decode"], ANY, HEX),
    (&["urlquery.decode", "urlquery.decode_object"], ANY, QUERIES),
    (&["uri"], ANY, URIS),
    (&["uuid"], ANY, UUIDS),
    (&["semver"], ANY, VERSIONS),
    (&["strings.render_template"], 0, TEMPLATES),
    // OPA expands a larger network to millions of addresses.
    (&["net.cidr_expand"], ANY, SMALL_CIDRS),
    (&["net"], ANY, CIDRS),
    (&["io"], 0, TOKENS),
    (&["io"], ANY, &["\"secret\"", "\"\""]),
];

const DURATIONS: &[&str] = &["\"1h\"", "\"1.5s\"", "\"-2m3s\"", "\"1d\"", "\"\"", "\"3µs\"", "\"1\""];

const LAYOUTS: &[&str] = &["\"2006-01-02\"", "\"RFC3339\"", "\"Jan 2 15:04\"", "\"2006-01-02T15:04:05.000Z07:00\""];

const UNITS: &[&str] =
    &["\"1K\"", "\"10Mi\"", "\"1.5GB\"", "\"100\"", "\"1e3\"", "\"2m\"", "\"\\\"1k\\\"\"", "\"5 K\"", "\"k\""];

const BASE64: &[&str] = &["\"YWI=\"", "\"YWI\"", "\"Pz8_\"", "\"Pz8/\"", "\"\"", "\"=\"", "\"YW I=\"", "\"/w==\""];

const HEX: &[&str] = &["\"6162\"", "\"616\"", "\"ZZ\"", "\"\"", "\"C3A9\"", "\"ff\""];

const QUERIES: &[&str] = &["\"a=1&b=2&a=3\"", "\"a%20b\"", "\"%\"", "\"a+b\"", "\"a;b\""];

const URIS: &[&str] = &[
    "\"https://u:p@h.example:8443/a/b?q=1#f\"",
    "\"http://[::1]/x\"",
    "\"a b\"",
    "\"mailto:a@b\"",
    "\"//h\"",
    "\"%\"",
];

const UUIDS: &[&str] =
    &["\"f47ac10b-58cc-4372-a567-0e02b2c3d479\"", "\"00000000-0000-1000-8000-000000000000\"", "\"x\""];

const VERSIONS: &[&str] =
    &["\"1.2.3\"", "\"1.2.3-rc.1\"", "\"1.2.3+b\"", "\"v1.0.0\"", "\"1.0\"", "\"01.0.0\"", "\"1.10.0\""];

const TEMPLATES: &[&str] =
    &["\"{{.a}}\"", "\"{{range .xs}}{{.}},{{end}}\"", "\"{{if .b}}y{{else}}n{{end}}\"", "\"{{\""];

const PATHS: &[&str] = &["[\"a\"]", "[\"a/b\", \"c\"]", "{[\"o\", \"a\"]}", "[\"os/0/n\"]", "[\"/a\"]", "[\"\"]"];

const SMALL_CIDRS: &[&str] = &["\"10.0.0.0/30\"", "\"2001:db8::/126\"", "\"1.2.3.4/32\"", "\"10.0.0.1/28\"", "\"x\""];

const TOKENS: &[&str] = &[TOKEN, "\"a.b.c\"", "\"\"", "\"e30.e30.\""];

/// Algorithm HS256, key `secret`.
const TOKEN: &str =
    "\"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.MotiglZFsn0x8q2h_Z6qX2wGEUO6mLVY4j0kKvpG3TI\"";

const WORDS: &[&str] =
    &["\"ab\"", "\"aab-b\"", "\"\"", "\"a.b.c\"", "\"foo123bar\"", "\"é日\"", "\"a\\nb\"", "\"/a/b\""];

const REGEXES: &[&str] = &[
    "\"a\"",
    "\"^a+b?$\"",
    "\"[a-c]*\"",
    "\"(a)(b)?\"",
    "\"(?i)A\"",
    "\"\\\\d+\"",
    "\"[[:alpha:]]\"",
    "\"(\"",
    "\"\"",
    "\"a{2,3}\"",
    "\"(?P<x>.)\"",
    "\"\\\\pL\"",
    "\"\\\\bfoo\"",
    "\"(?s).\"",
    "\"$\"",
    "\"a|b\"",
];

const GLOBS: &[&str] = &[
    "\"*\"",
    "\"**\"",
    "\"a*\"",
    "\"*.b\"",
    "\"a.?.c\"",
    "\"{a,b}*\"",
    "\"[a-c]\"",
    "\"[!a]\"",
    "\"[\"",
    "\"\\\\*\"",
    "\"a.**.c\"",
];

const FORMATS: &[&str] = &[
    "\"%d\"",
    "\"%s\"",
    "\"%v %v\"",
    "\"%5.2f\"",
    "\"%-5s|\"",
    "\"%05d\"",
    "\"%x\"",
    "\"%q\"",
    "\"%%\"",
    "\"%t\"",
    "\"%e\"",
    "\"%c\"",
    "\"%[2]v %[1]v\"",
    "\"%*d\"",
    "\"%z\"",
    "\"%+d\"",
    "\"%g\"",
    "\"%b\"",
    "\"%o\"",
    "\"%U\"",
    "\"%T\"",
    "\"%\"",
    "\"%6.3v\"",
];

const TIMES: &[&str] = &[
    "\"2024-02-29T12:00:00Z\"",
    "\"2024-02-29T12:00:00.123456789+02:00\"",
    "\"2023-02-29T00:00:00Z\"",
    "\"2024-02-29\"",
    "\"1677-09-21T00:12:43Z\"",
    "\"2262-04-12T00:00:00Z\"",
    "\"Feb 3 04:05\"",
];

const JSONS: &[&str] = &[
    "\"{\\\"a\\\": 1}\"",
    "\"[1, 2.50, -0]\"",
    "\"1e400\"",
    "\"nul\"",
    "\"\"",
    "\" \\\"x\\\" \"",
    "\"{\\\"a\\\":1,\\\"a\\\":2}\"",
    "\"1 2\"",
    "\"[1,]\"",
    "\"01\"",
    "\"\\\"\\\\ud800\\\"\"",
];

const YAMLS: &[&str] = &[
    "\"a: 1\"",
    "\"- 1\\n- b\"",
    "\"a: [1, {b: c}]\"",
    "\"yes\"",
    "\"0o17\"",
    "\"1e3\"",
    "\"a: &x 1\\nb: *x\"",
    "\": :\"",
    "\"\"",
    "\"~\"",
    "\"'a'\"",
    "\"!!str 1\"",
    "\"{\"",
    "\"a: |\\n  x\\n  y\\n\"",
    "\"2024-01-01\"",
];

const SCHEMAS: &[&str] = &[
    "{\"type\": \"object\", \"required\": [\"a\"]}",
    "{\"type\": \"string\", \"minLength\": 2}",
    "{\"properties\": {\"n\": {\"type\": \"number\", \"maximum\": 3}}}",
    "\"{}\"",
    "{\"type\": 1}",
    "{\"enum\": [1, \"a\", null]}",
    "{\"items\": {\"type\": \"integer\"}, \"uniqueItems\": true}",
    "\"{\"",
];

const CIDRS: &[&str] = &[
    "\"10.0.0.0/8\"",
    "\"10.1.2.3\"",
    "\"10.0.0.0/30\"",
    "\"192.168.1.7/24\"",
    "\"::1\"",
    "\"2001:db8::/126\"",
    "\"10.0.0.0/33\"",
    "\"x\"",
    "\"\"",
    "\"1.2.3.4/32\"",
    "\"::ffff:10.0.0.1\"",
];

const PATCHES: &[&str] = &[
    "[{\"op\": \"add\", \"path\": \"/a\", \"value\": 1}]",
    "[{\"op\": \"remove\", \"path\": \"/n\"}]",
    "[{\"op\": \"replace\", \"path\": \"o/a\", \"value\": {1, 2}}]",
    "[{\"op\": \"move\", \"from\": \"/n\", \"path\": \"/q\"}]",
    "[{\"op\": \"copy\", \"from\": [\"xs\", 0], \"path\": \"/xs/-\"}]",
    "[{\"op\": \"test\", \"path\": \"/n\", \"value\": 1}]",
    "[{\"op\": \"add\", \"path\": \"/xs/0\", \"value\": \"x\"}]",
    "[{\"op\": \"frob\", \"path\": \"\"}]",
    "[{\"op\": \"add\", \"path\": \"\", \"value\": 1}]",
];
