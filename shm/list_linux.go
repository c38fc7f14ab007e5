package shm

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func listNamed(dir string) ([]Info, error) {
	if err := sweep(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, e := range entries {
		info, ok, err := describe(e)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, info)
		}
	}
	return list, nil
}

// describe reports false for what is no segment, or is gone meanwhile.
func describe(e fs.DirEntry) (Info, bool, error) {
	name, ok := segmentName(e.Name())
	if !ok || !e.Type().IsRegular() {
		return Info{}, false, nil
	}
	fi, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, false, nil
	}
	if err != nil {
		return Info{}, false, err
	}
	info := Info{Name: name, Size: fi.Size(), Mode: fi.Mode().Perm(), ModTime: fi.ModTime(), UID: -1}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		info.UID = int(st.Uid)
	}
	return info, true, nil
}
