//! FlatBuffers, as much as a ztoc needs of it: a writer that equals Go's, and a reader that
//! checks every offset.

pub(crate) mod read;
pub(crate) mod write;

/// Field numbers of the tables in `ztoc.fbs` and `zinfo.fbs`, in schema order.
pub(crate) mod field {
    pub(crate) mod ztoc {
        pub(crate) const VERSION: usize = 0;
        pub(crate) const BUILD_TOOL_IDENTIFIER: usize = 1;
        pub(crate) const COMPRESSED_ARCHIVE_SIZE: usize = 2;
        pub(crate) const UNCOMPRESSED_ARCHIVE_SIZE: usize = 3;
        pub(crate) const TOC: usize = 4;
        pub(crate) const COMPRESSION_INFO: usize = 5;
        pub(crate) const COUNT: usize = 6;
    }
    pub(crate) mod toc {
        pub(crate) const METADATA: usize = 0;
        pub(crate) const COUNT: usize = 1;
    }
    pub(crate) mod file {
        pub(crate) const NAME: usize = 0;
        pub(crate) const TYPE: usize = 1;
        pub(crate) const UNCOMPRESSED_OFFSET: usize = 2;
        pub(crate) const UNCOMPRESSED_SIZE: usize = 3;
        pub(crate) const LINKNAME: usize = 4;
        pub(crate) const MODE: usize = 5;
        pub(crate) const UID: usize = 6;
        pub(crate) const GID: usize = 7;
        pub(crate) const UNAME: usize = 8;
        pub(crate) const GNAME: usize = 9;
        pub(crate) const MOD_TIME: usize = 10;
        pub(crate) const DEVMAJOR: usize = 11;
        pub(crate) const DEVMINOR: usize = 12;
        pub(crate) const XATTRS: usize = 13;
        pub(crate) const COUNT: usize = 14;
    }
    pub(crate) mod xattr {
        pub(crate) const KEY: usize = 0;
        pub(crate) const VALUE: usize = 1;
        pub(crate) const COUNT: usize = 2;
    }
    pub(crate) mod compression_info {
        pub(crate) const COMPRESSION_ALGORITHM: usize = 0;
        pub(crate) const MAX_SPAN_ID: usize = 1;
        pub(crate) const SPAN_DIGESTS: usize = 2;
        pub(crate) const CHECKPOINTS: usize = 3;
        pub(crate) const COUNT: usize = 4;
    }
    pub(crate) mod tar_zinfo {
        pub(crate) const VERSION: usize = 0;
        pub(crate) const SPAN_SIZE: usize = 1;
        pub(crate) const SIZE: usize = 2;
        pub(crate) const COUNT: usize = 3;
    }
}
