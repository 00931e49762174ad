// How the cases of the golden set lie in files, see tests/golden/README.md.

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

// goldenShared is the folder of the layers that cases share.
const goldenShared = "_blobs"

// sharedBlobSize is the size above which a blob counts as one to share.
const sharedBlobSize = 4096

// removeGolden removes the cases that an earlier run wrote.
func removeGolden(folder string) error {
	inputs, err := filepath.Glob(filepath.Join(folder, "*", "input.json"))
	if err != nil {
		return err
	}
	for _, input := range append(inputs, filepath.Join(folder, goldenShared, "all")) {
		if err := os.RemoveAll(filepath.Dir(input)); err != nil {
			return err
		}
	}
	return nil
}

// writeGolden writes a case's folder, and those of its layers that are not there
// yet into the shared folder.
func writeGolden(folder, name string, source goldenImage, input goldenInput, expected goldenExpected) error {
	for _, layer := range source.shared {
		path := filepath.Join(folder, goldenShared, digest.FromBytes(layer).Encoded())
		if err := writeBlob(path, layer); err != nil {
			return err
		}
	}
	root := filepath.Join(folder, name)
	for _, blob := range source.own {
		if err := writeNew(filepath.Join(root, "blobs", "sha256", digest.FromBytes(blob).Encoded()), blob); err != nil {
			return err
		}
	}
	for version, outcome := range map[string]goldenOutcome{"V1": expected.V1, "V2": expected.V2} {
		for pushed, content := range outcome.content {
			if err := writeNew(filepath.Join(root, "expected", version, pushed.Encoded()), content); err != nil {
				return err
			}
		}
	}
	if err := writeJSON(filepath.Join(root, "input.json"), input); err != nil {
		return err
	}
	return writeJSON(filepath.Join(root, "expected.json"), expected)
}

// writeBlob writes a shared blob, packed where that saves something.
func writeBlob(path string, blob []byte) error {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write(blob); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	if packed.Len() < len(blob)*9/10 {
		return writeNew(path+".gz", packed.Bytes())
	}
	return writeNew(path, blob)
}

func writeNew(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

func writeJSON(path string, value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return writeNew(path, text.Bytes())
}

// readShared reads the blobs that cases share, of which some are packed.
func readShared(folders ...string) (map[digest.Digest][]byte, error) {
	shared := map[digest.Digest][]byte{}
	for _, folder := range folders {
		paths, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			blob, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			if strings.HasSuffix(path, ".gz") {
				reader, err := gzip.NewReader(bytes.NewReader(blob))
				if err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
				if blob, err = io.ReadAll(reader); err != nil {
					return nil, fmt.Errorf("%s: %w", path, err)
				}
			}
			shared[digest.FromBytes(blob)] = blob
		}
	}
	return shared, nil
}

// readGolden reads a case that is there: its input and the image's content.
func readGolden(folder string, shared map[digest.Digest][]byte) (goldenInput, map[digest.Digest][]byte, error) {
	// What the cases do not say is at the reference's defaults.
	input := goldenInput{Options: goldenOptions{SpanSize: defaultSpanSize, MinLayerSize: defaultMinLayerSize}}
	text, err := os.ReadFile(filepath.Join(folder, "input.json"))
	if err != nil {
		return input, nil, err
	}
	if err := json.Unmarshal(text, &input); err != nil {
		return input, nil, err
	}
	content := map[digest.Digest][]byte{}
	paths, err := filepath.Glob(filepath.Join(folder, "blobs", "sha256", "*"))
	if err != nil {
		return input, nil, err
	}
	for _, path := range paths {
		blob, err := os.ReadFile(path)
		if err != nil {
			return input, nil, err
		}
		content[digest.FromBytes(blob)] = blob
	}
	for _, wanted := range input.BlobsElsewhere {
		blob, ok := shared[wanted]
		if !ok {
			return input, nil, errors.New("no shared blob " + wanted.String())
		}
		content[wanted] = blob
	}
	return input, content, nil
}
