//! The classes of `\p{Name}`: Go's names, `regex_syntax`'s tables.
//!
//! Go knows general categories by their short names and scripts by their long ones, nothing else. Its tables
//! are of Unicode 15.0, and so are the classes here. Case folding is `regex_syntax`'s, of Unicode 16: 60 code
//! points, 54 of them not assigned before, fold to others here and to themselves in Go.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};

/// Returns the class that Go calls `name`.
pub(super) fn class(name: &str) -> Option<ClassUnicode> {
    match name {
        "Any" => return Some(everything()),
        // Go's tables are of Unicode 15.0: what came later is unassigned to it.
        "Cn" => return Some(unassigned()),
        // Surrogates: no text holds one.
        "Cs" => return Some(ClassUnicode::empty()),
        _ => {}
    }
    let property = if CATEGORIES.contains(&name) {
        "gc"
    } else if SCRIPTS.binary_search(&name).is_ok() {
        "sc"
    } else {
        return None;
    };
    let mut class = table(property, name);
    class.intersect(&table("age", "15.0"));
    if name == "C" {
        class.union(&unassigned());
    }
    Some(class)
}

fn everything() -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new('\0', char::MAX)])
}

fn unassigned() -> ClassUnicode {
    // The age alone would take the non-characters for assigned.
    let mut class = table("gc", "Assigned");
    class.intersect(&table("age", "15.0"));
    class.negate();
    class
}

/// Returns a table of `regex_syntax`, which hands them out through its own parser only.
fn table(property: &str, value: &str) -> ClassUnicode {
    let hir = regex_syntax::parse(&format!(r"\p{{{property}={value}}}"))
        .expect("each name was checked against the tables");
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => class,
        HirKind::Literal(only) => {
            let only = str::from_utf8(&only.0).unwrap_or_default().chars();
            ClassUnicode::new(only.map(|c| ClassUnicodeRange::new(c, c)))
        }
        other => unreachable!("a property is a class, not {other:?}"),
    }
}

/// Sorted by name.
const CATEGORIES: [&str; 36] = [
    "C", "Cc", "Cf", "Co", "L", "LC", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs",
];

/// Sorted by name.
#[rustfmt::skip]
const SCRIPTS: [&str; 163] = [
    "Adlam", "Ahom", "Anatolian_Hieroglyphs", "Arabic", "Armenian", "Avestan", "Balinese", "Bamum",
    "Bassa_Vah", "Batak", "Bengali", "Bhaiksuki", "Bopomofo", "Brahmi", "Braille", "Buginese",
    "Buhid", "Canadian_Aboriginal", "Carian", "Caucasian_Albanian", "Chakma", "Cham", "Cherokee",
    "Chorasmian", "Common", "Coptic", "Cuneiform", "Cypriot", "Cypro_Minoan", "Cyrillic", "Deseret",
    "Devanagari", "Dives_Akuru", "Dogra", "Duployan", "Egyptian_Hieroglyphs", "Elbasan", "Elymaic",
    "Ethiopic", "Georgian", "Glagolitic", "Gothic", "Grantha", "Greek", "Gujarati", "Gunjala_Gondi",
    "Gurmukhi", "Han", "Hangul", "Hanifi_Rohingya", "Hanunoo", "Hatran", "Hebrew", "Hiragana",
    "Imperial_Aramaic", "Inherited", "Inscriptional_Pahlavi", "Inscriptional_Parthian", "Javanese",
    "Kaithi", "Kannada", "Katakana", "Kawi", "Kayah_Li", "Kharoshthi", "Khitan_Small_Script",
    "Khmer", "Khojki", "Khudawadi", "Lao", "Latin", "Lepcha", "Limbu", "Linear_A", "Linear_B",
    "Lisu", "Lycian", "Lydian", "Mahajani", "Makasar", "Malayalam", "Mandaic", "Manichaean",
    "Marchen", "Masaram_Gondi", "Medefaidrin", "Meetei_Mayek", "Mende_Kikakui", "Meroitic_Cursive",
    "Meroitic_Hieroglyphs", "Miao", "Modi", "Mongolian", "Mro", "Multani", "Myanmar", "Nabataean",
    "Nag_Mundari", "Nandinagari", "New_Tai_Lue", "Newa", "Nko", "Nushu", "Nyiakeng_Puachue_Hmong",
    "Ogham", "Ol_Chiki", "Old_Hungarian", "Old_Italic", "Old_North_Arabian", "Old_Permic",
    "Old_Persian", "Old_Sogdian", "Old_South_Arabian", "Old_Turkic", "Old_Uyghur", "Oriya", "Osage",
    "Osmanya", "Pahawh_Hmong", "Palmyrene", "Pau_Cin_Hau", "Phags_Pa", "Phoenician",
    "Psalter_Pahlavi", "Rejang", "Runic", "Samaritan", "Saurashtra", "Sharada", "Shavian",
    "Siddham", "SignWriting", "Sinhala", "Sogdian", "Sora_Sompeng", "Soyombo", "Sundanese",
    "Syloti_Nagri", "Syriac", "Tagalog", "Tagbanwa", "Tai_Le", "Tai_Tham", "Tai_Viet", "Takri",
    "Tamil", "Tangsa", "Tangut", "Telugu", "Thaana", "Thai", "Tibetan", "Tifinagh", "Tirhuta",
    "Toto", "Ugaritic", "Vai", "Vithkuqi", "Wancho", "Warang_Citi", "Yezidi", "Yi",
    "Zanabazar_Square",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_table() {
        assert!(SCRIPTS.is_sorted());
        for name in CATEGORIES.iter().chain(&SCRIPTS) {
            assert!(!class(name).unwrap().ranges().is_empty(), "{name}");
        }
    }
}
