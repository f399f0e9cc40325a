// Package archive is how files travel and are kept: a tar stream, compressed so that one file of it can be read alone.
//
// An archive is the tar stream cut into pieces of about 1 MiB, each compressed to a zstd frame of its own, and then an index
// in a skippable frame. So it is read by `zstd -d | tar x`, and whoever can read ranges of it needs one read for the list of
// its files and one more for a file or a part of a file.
//
//	frame │ frame │ … │ skippable frame: magic, length, index (zstd), footer
//
// The index, all numbers varints: the count of frames, of each its compressed and its raw length; the count of entries, of
// each its type (a byte), mode, time (seconds), size, where its data begins in the tar stream (from the end of the data of the
// one before), its name and, of a symbolic link, its target. The footer is 48 bytes, little endian: compressed and raw length
// of the index, length of the tar stream, length of all frames (8 bytes each), CRC-32C of the compressed index (4), version
// (4), and a magic number (8).
//
// Writer makes archives with constant memory but for the index. Open reads them by their index, Decompress from the front;
// what that returns is a tar stream for Extract, Clean and Zip. All of it is written by strangers: names are local, nothing
// but files, directories and symbolic links that stay inside is let through, and Limits bound the rest.
package archive
