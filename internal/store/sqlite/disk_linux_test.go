package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"keybridge/internal/store"
)

// mounted is a small disk of the test's own, where the system lets it have one.
func mounted(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("to have a disk of its own the test needs the right to mount one: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestFullDisk fills the disk, first with the record itself, and makes room again.
func TestFullDisk(t *testing.T) {
	dir := mounted(t, "size=1536k")
	path := filepath.Join(dir, "record.db")
	s := mustOpen(t, path)
	written := int64(0)
	list := some(250)
	var err error
	for err == nil {
		if err = s.Write(t.Context(), nil, list); err == nil {
			written += int64(len(list))
			list = some(250)
		}
		if written > 100_000 {
			t.Fatal("the disk never is full")
		}
	}
	expectError(t, err, store.Full, path, "the disk is full: make room there")
	expectError(t, s.Write(t.Context(), nil, list), store.Full, path, "the disk is full")
	expectCount(t, s, written)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), nil, list); err != nil {
		t.Fatal(err)
	}
	expectCount(t, s, written+250)
	mustWrite(t, s, 1000)
}

// TestNoRoomToBegin opens where nothing can be written, and again when it can.
func TestNoRoomToBegin(t *testing.T) {
	dir := mounted(t, "size=64k")
	path := filepath.Join(dir, "record.db")
	filler := filepath.Join(dir, "filler")
	_ = os.WriteFile(filler, make([]byte, 1<<20), 0o600)
	_, err := open(t, path)
	expectError(t, err, store.Full, path, "the disk is full")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	mustWrite(t, s, 10)
	expectCount(t, s, 10)
	if aside, _ := filepath.Glob(path + ".corrupt*"); len(aside) > 0 {
		t.Errorf("a full disk was taken for a damaged file: %q", aside)
	}
}

// TestReadOnlyDisk finds the record where nothing may be written.
func TestReadOnlyDisk(t *testing.T) {
	dir := mounted(t, "size=8m")
	path := filepath.Join(dir, "record.db")
	s := mustOpen(t, path)
	mustWrite(t, s, 3)
	s.Close()
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	_, err := open(t, path)
	expectError(t, err, store.ReadOnly, path, "the file may only be read: let the gateway write to it")
	remount(0)
	s = mustOpen(t, path)
	mustWrite(t, s, 1)
	expectCount(t, s, 4)
}

// TestNotAllowed is refused by the system.
func TestNotAllowed(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may do everything")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "record.db")
	s := mustOpen(t, path)
	mustWrite(t, s, 1)
	s.Close()
	for _, tt := range []struct{ file, folder os.FileMode }{
		{0o400, 0o700},
		{0, 0o700},
		{0o600, 0},
	} {
		if err := errors.Join(os.Chmod(path, tt.file), os.Chmod(dir, tt.folder)); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, path)
		expectError(t, err, store.Denied, path, "make the gateway's user the owner")
		if err = errors.Join(os.Chmod(dir, 0o700), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	expectCount(t, mustOpen(t, path), 1)
}
