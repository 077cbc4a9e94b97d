//! Plain text in pieces.

use rlp_data::Texts;

use super::Folder;

#[test]
fn pieces_hold_every_character_once() {
    let folder = Folder::new();
    let long: String = "Ωne — two, thrée\n".repeat(40);
    let paths = vec![
        folder.write("a.txt", &long),
        folder.write("empty.txt", ""),
        folder.write("b.txt", "z"),
    ];
    for window in [4, 5, 7, 64, 100_000] {
        let mut texts = Texts::open(&paths).unwrap();
        texts.cut(window);
        let pieces: Vec<_> = (0..texts.pieces())
            .map(|number| texts.piece(number).unwrap())
            .collect();
        let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(whole, format!("{long}z"), "window {window}");
        assert!(pieces.iter().all(|piece| !piece.text.is_empty()));
        assert_eq!(pieces.iter().filter(|piece| piece.is_last).count(), 2);
        let longest = pieces.iter().map(|piece| piece.text.len() as u64).max();
        assert!(longest.unwrap() <= window + 6);
    }
}

#[test]
fn samples_are_spread_over_all_files() {
    let folder = Folder::new();
    let paths = vec![
        folder.write("a.txt", "a".repeat(100)),
        folder.write("b.txt", "b".repeat(100)),
    ];
    let texts = Texts::open(&paths).unwrap();
    let samples = texts.samples(4, 10).unwrap();
    assert_eq!(samples.concat(), "a".repeat(20) + &"b".repeat(20));
}

#[test]
fn text_that_is_none_is_named_by_its_line() {
    let folder = Folder::new();
    let mut bytes = b"one\ntwo\n".repeat(200_000);
    let place = bytes.len();
    bytes.extend(b"thr\xffee\n");
    let error = Texts::open(&[folder.write("a.txt", &bytes)]).unwrap_err();
    assert!(
        error.message.contains("line 400001 has the byte 0xff"),
        "{error}"
    );
    // A character that the end of the file cuts.
    bytes.truncate(place);
    bytes.push(0xC3);
    let error = Texts::open(&[folder.write("a.txt", &bytes)]).unwrap_err();
    assert!(
        error.message.contains("line 400001 has the byte 0xc3"),
        "{error}"
    );
    let error = Texts::open(&[folder.write("a.txt", "")]).unwrap_err();
    assert!(error.message.contains("it has no text"), "{error}");
}
