package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// content of the file: {"primary": "ID", "digest": "BASE64", "keys": {"ID": "BASE64", …}}, keys of 32 bytes each.
type content struct {
	Primary string            `json:"primary"`
	Digest  []byte            `json:"digest"`
	Keys    map[string][]byte `json:"keys"`
}

func (c *content) check() error {
	var faults []error
	if len(c.Digest) != keyBytes {
		faults = append(faults, fmt.Errorf("digest has %d bytes, want %d in base64", len(c.Digest), keyBytes))
	}
	if _, ok := c.Keys[c.Primary]; !ok {
		faults = append(faults, fmt.Errorf("primary names %q, which is none of the keys", c.Primary))
	}
	for id, key := range c.Keys {
		if len(key) != keyBytes || id == "" {
			faults = append(faults, fmt.Errorf("key %q has %d bytes, want %d in base64, and an id", id, len(key), keyBytes))
		}
	}
	return errors.Join(faults...)
}

// File is a key ring in a file that nobody but its owner may read. Keys that others add to the file are used as soon as they
// are needed or the file is read again.
type File struct {
	path string

	mu   sync.RWMutex
	ring content
	read time.Time // modification time of what was read
}

// String keeps the keys out of whatever prints the ring.
func (f *File) String() string { return "key ring " + f.path }

// GoString is String.
func (f *File) GoString() string { return f.String() }

// OpenFile reads a key ring. It refuses a file that others than its owner may read or write.
func OpenFile(path string) (*File, error) {
	f := &File{path: path}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Ensure opens the key ring at path, and makes one with a first key where there is none.
func Ensure(path string) (*File, error) {
	f, err := OpenFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	digest := make([]byte, keyBytes)
	_, _ = rand.Read(digest) // it never fails
	first := content{Digest: digest}
	first.add()
	if err := first.write(path, true); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return OpenFile(path)
}

// Inspect says what is wrong with the file of a key ring; its keys are not kept.
func Inspect(path string) error {
	_, err := OpenFile(path)
	return err
}

// Reload reads the file again.
func (f *File) Reload() error {
	ring, read, err := load(f.path)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring, f.read = ring, read
	return nil
}

func load(path string) (ring content, read time.Time, err error) {
	file, err := os.Open(path)
	if err != nil {
		return ring, read, fmt.Errorf("open the key ring: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return ring, read, fmt.Errorf("read the key ring: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return ring, read, fmt.Errorf("the key ring %s has the mode %s, so others may read it: chmod 600 it, and rotate its keys if they may have", path, mode)
	}
	// The decoder's errors may quote the file.
	if err := json.NewDecoder(file).Decode(&ring); err != nil {
		return ring, read, fmt.Errorf("the key ring %s is no JSON of a key ring", path)
	}
	if err := ring.check(); err != nil {
		return ring, read, fmt.Errorf("the key ring %s: %w", path, err)
	}
	return ring, info.ModTime(), nil
}

// add makes a new key the primary one.
func (c *content) add() {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it never fails
	var id [4]byte
	_, _ = rand.Read(id[:])
	c.Keys = maps.Clone(c.Keys)
	if c.Keys == nil {
		c.Keys = map[string][]byte{}
	}
	c.Primary = fmt.Sprintf("%s-%08x", time.Now().UTC().Format("20060102"), binary.BigEndian.Uint32(id[:]))
	c.Keys[c.Primary] = key
}

// write replaces the file, whole or not at all; fresh only makes one where there is none.
func (c *content) write(path string, fresh bool) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the key ring: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".keyring-") // its mode is 0600
	if err != nil {
		return fmt.Errorf("write the key ring: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(append(raw, '\n'))
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil && fresh {
		err = os.Link(temp.Name(), path)
	} else if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the key ring: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("keep the key ring: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("keep the key ring: %w", err)
	}
	return nil
}

// Rotate makes a new key the primary one. The others stay: what they encrypted has to be rewrapped first.
func (f *File) Rotate() error {
	lock, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600) // of processes that share the ring
	if err != nil {
		return fmt.Errorf("lock the key ring: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the key ring: %w", err)
	}
	ring, _, err := load(f.path)
	if err != nil {
		return err
	}
	ring.add()
	if err := ring.write(f.path, false); err != nil {
		return err
	}
	return f.Reload()
}

// Primary implements Keys.
func (f *File) Primary() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.ring.Primary
}

// IDs of all keys, sorted.
func (f *File) IDs() []string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Sorted(maps.Keys(f.ring.Keys))
}

// Digest implements Keys.
func (f *File) Digest(text []byte) []byte {
	f.mu.RLock()
	defer f.mu.RUnlock()
	h := hmac.New(sha256.New, f.ring.Digest)
	_, _ = h.Write(text) // it never fails
	return h.Sum(nil)
}

// Wrap implements Keys.
func (f *File) Wrap(_ context.Context, dataKey, place []byte) (string, []byte, error) {
	f.mu.RLock()
	id, key := f.ring.Primary, f.ring.Keys[f.ring.Primary]
	f.mu.RUnlock()
	wrapped, err := encrypt(key, dataKey, under(id, place))
	return id, wrapped, err
}

// Unwrap implements Keys.
func (f *File) Unwrap(_ context.Context, id string, wrapped, place []byte) ([]byte, error) {
	key, err := f.key(id)
	if err != nil {
		return nil, err
	}
	return decrypt(key, wrapped, under(id, place))
}

// under is a place together with the key that a data key is encrypted with.
func under(id string, place []byte) []byte {
	return append(append(binary.AppendUvarint(nil, uint64(len(id))), id...), place...)
}

// key returns a key. One that is not known may have been added to the file.
func (f *File) key(id string) ([]byte, error) {
	f.mu.RLock()
	key, ok := f.ring.Keys[id]
	read := f.read
	f.mu.RUnlock()
	if ok {
		return key, nil
	}
	if info, err := os.Stat(f.path); err == nil && !info.ModTime().Equal(read) && f.Reload() == nil {
		f.mu.RLock()
		defer f.mu.RUnlock()
		if key, ok = f.ring.Keys[id]; ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w %q", ErrNoKey, id)
}
