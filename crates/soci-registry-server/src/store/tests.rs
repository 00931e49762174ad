use tempfile::TempDir;

use super::*;
use crate::catalogue::Page;

const MEDIA_TYPE: &str = soci_oci::media_type::OCI_MANIFEST;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn open(folder: &TempDir) -> Store {
    Store::open(folder.path(), true).unwrap()
}

fn push(store: &Store, to: &str, bytes: &[u8], digest: Digest) -> Result<(), CommitError> {
    let mut incoming = store.receive().unwrap();
    incoming.append(bytes).unwrap();
    store.commit(&name(to), incoming, digest)
}

fn uploads(folder: &TempDir) -> usize {
    fs::read_dir(folder.path().join("uploads")).unwrap().count()
}

fn record_of(subject: Option<Digest>) -> ManifestRecord {
    ManifestRecord { media_type: MEDIA_TYPE.to_owned(), subject }
}

#[test]
fn everything_is_there_again_after_the_folder_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (blob, manifest) = (Digest::sha256_of(b"blob"), Digest::sha256_of(b"manifest"));
    let store = open(&folder);
    push(&store, "team/app", b"blob", blob).unwrap();
    store.link_blob(&name("team"), blob).unwrap();
    for tag in ["v1", "V1"] {
        let tag = tag.parse().unwrap();
        let (name, record) = (name("team/app"), record_of(Some(blob)));
        store.put_manifest(&name, manifest, record, b"manifest", Some(&tag)).unwrap();
    }
    drop(store);

    let store = open(&folder);
    let catalogue = store.catalogue();
    let all = Page { after: None, max: 9 };
    assert_eq!(catalogue.repositories(&all).entries, ["team", "team/app"]);
    assert_eq!(catalogue.tags(&name("team/app"), &all).unwrap().entries, ["V1", "v1"]);
    assert!(
        catalogue.has_blob(&name("team/app"), &blob) && catalogue.has_blob(&name("team"), &blob)
    );
    let found = catalogue.manifest(&name("team/app"), &TagOrDigest::Tag("V1".parse().unwrap()));
    assert_eq!(found, Some((manifest, &record_of(Some(blob)))));
    assert_eq!(catalogue.referrers(&name("team/app"), &blob), [manifest]);
    drop(catalogue);
    assert_eq!(store.read(&manifest).unwrap(), b"manifest");
    assert_eq!(store.read(&blob).unwrap(), b"blob");
}

#[test]
fn bytes_with_another_digest_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let claimed = Digest::sha256_of(b"other");
    let refused = push(&store, "app", b"blob", claimed).unwrap_err();
    assert!(matches!(refused, CommitError::Mismatch(found) if found == Digest::sha256_of(b"blob")));
    assert!(!store.catalogue().has_blob(&name("app"), &claimed));
    assert!(!store.path_of(&claimed).exists());
    assert_eq!(uploads(&folder), 0);
}

#[test]
fn blobs_may_have_digests_of_other_algorithms() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let bytes = vec![7; BLOCK + 1];
    let mut hasher = Hasher::new(soci_oci::Algorithm::Sha512);
    hasher.update(&bytes);
    let digest = hasher.finish();
    push(&store, "app", &bytes, digest).unwrap();
    assert!(store.catalogue().has_blob(&name("app"), &digest));
    assert_eq!(store.read(&digest).unwrap(), bytes);
}

#[test]
fn the_same_blob_again_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let digest = Digest::sha256_of(b"blob");
    push(&store, "a", b"blob", digest).unwrap();
    push(&store, "b", b"blob", digest).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 1);
    assert_eq!(uploads(&folder), 0);
}

#[test]
fn what_was_damaged_or_deleted_in_the_folder_is_mended_by_another_push() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let digest = Digest::sha256_of(b"blob");
    push(&store, "a", b"blob", digest).unwrap();
    let path = store.path_of(&digest);
    let damage: [&dyn Fn(); 2] =
        [&|| fs::write(&path, "blub").unwrap(), &|| fs::remove_file(&path).unwrap()];
    for damage in damage {
        damage();
        push(&store, "a", b"blob", digest).unwrap();
        assert_eq!(store.read(&digest).unwrap(), b"blob");
    }
}

#[test]
fn what_was_cut_off_is_removed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut incoming = store.receive().unwrap();
    incoming.append(b"part").unwrap();
    assert_eq!(uploads(&folder), 1);
    std::mem::forget(incoming);
    drop(store);
    drop(open(&folder));
    assert_eq!(uploads(&folder), 0);
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter"), "dear").unwrap();
    let refused = Store::open(folder.path(), true).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_is_open_once_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let refused = Store::open(folder.path(), true).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(store);
    open(&folder);
}

#[test]
fn a_damaged_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let records = folder.path().join("repositories/app/_tags");
    fs::create_dir_all(&records).unwrap();
    fs::write(records.join("x"), "{").unwrap();
    let refused = Store::open(folder.path(), true).unwrap_err();
    assert!(matches!(&refused, OpenError::Damaged { path } if path.ends_with("_tags/x")));
}

#[test]
fn a_manifest_that_was_removed_is_gone_with_its_tags_and_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let (subject, manifest) = (Digest::sha256_of(b"subject"), Digest::sha256_of(b"manifest"));
    let app = name("app");
    let tags = |store: &Store| {
        let page = Page { after: None, max: 9 };
        store.catalogue().tags(&app, &page).unwrap().entries
    };
    let store = open(&folder);
    for tag in ["1", "2"] {
        let record = record_of(Some(subject));
        store
            .put_manifest(&app, manifest, record, b"manifest", Some(&tag.parse().unwrap()))
            .unwrap();
    }
    let other = Digest::sha256_of(b"other");
    store
        .put_manifest(&app, other, record_of(None), b"other", Some(&"3".parse().unwrap()))
        .unwrap();
    store.remove_manifest(&app, &TagOrDigest::Tag("1".parse().unwrap())).unwrap();
    assert_eq!(tags(&store), ["2", "3"]);
    assert!(store.has_manifest(&app, &manifest));
    store.remove_manifest(&app, &manifest.into()).unwrap();
    store.remove_manifest(&app, &manifest.into()).unwrap();
    let check = |store: &Store| {
        assert!(!store.has_manifest(&app, &manifest) && store.has_manifest(&app, &other));
        assert_eq!(tags(store), ["3"]);
        assert!(store.catalogue().referrers(&app, &subject).is_empty());
    };
    check(&store);
    drop(store);
    check(&open(&folder));
}

#[test]
fn a_folder_that_was_removed_is_not_made_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("removed");
    let refused = Store::open(&folder, false).unwrap_err();
    assert!(matches!(refused, OpenError::File { .. }), "{refused}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}
