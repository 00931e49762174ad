// A registry in memory, to which the golden commands push.

package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// registryRepository is the one repository of a registry.
const registryRepository = "golden"

// registry is an OCI registry in memory with one repository. It has no
// referrers API, so that whoever pushes a manifest with a subject keeps the
// list of referrers under a tag, and it takes manifests that name content which
// it does not have.
type registry struct {
	server *httptest.Server

	mutex     sync.Mutex
	blobs     map[digest.Digest][]byte
	manifests map[digest.Digest]registryManifest
	tags      map[string]digest.Digest
}

type registryManifest struct {
	mediaType string
	bytes     []byte
}

// newRegistry starts a registry; the caller closes its server.
func newRegistry() *registry {
	r := &registry{
		blobs:     map[digest.Digest][]byte{},
		manifests: map[digest.Digest]registryManifest{},
		tags:      map[string]digest.Digest{},
	}
	base := "/v2/" + registryRepository
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET "+base+"/manifests/{reference}", r.getManifest)
	mux.HandleFunc("PUT "+base+"/manifests/{reference}", r.putManifest)
	mux.HandleFunc("GET "+base+"/blobs/{digest}", r.getBlob)
	mux.HandleFunc("POST "+base+"/blobs/uploads/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", base+"/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("PUT "+base+"/blobs/uploads/1", r.putBlob)
	r.server = httptest.NewServer(mux)
	return r
}

// reference is how the command line names the image under a tag.
func (r *registry) reference(tag string) string {
	return strings.TrimPrefix(r.server.URL, "http://") + "/" + registryRepository + ":" + tag
}

// resolve answers the digest for a tag or a digest.
func (r *registry) resolve(reference string) digest.Digest {
	if tagged, ok := r.tags[reference]; ok {
		return tagged
	}
	return digest.Digest(reference)
}

func (r *registry) getManifest(w http.ResponseWriter, request *http.Request) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	found := r.resolve(request.PathValue("reference"))
	manifest, ok := r.manifests[found]
	if !ok {
		refuse(w, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", manifest.mediaType)
	answer(w, found, manifest.bytes)
}

func (r *registry) putManifest(w http.ResponseWriter, request *http.Request) {
	bytes, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	put := digest.FromBytes(bytes)
	r.manifests[put] = registryManifest{request.Header.Get("Content-Type"), bytes}
	if reference := request.PathValue("reference"); reference != put.String() {
		r.tags[reference] = put
	}
	w.Header().Set("Docker-Content-Digest", put.String())
	w.WriteHeader(http.StatusCreated)
}

func (r *registry) getBlob(w http.ResponseWriter, request *http.Request) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	wanted := digest.Digest(request.PathValue("digest"))
	bytes, ok := r.blobs[wanted]
	if !ok {
		refuse(w, "BLOB_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	answer(w, wanted, bytes)
}

func (r *registry) putBlob(w http.ResponseWriter, request *http.Request) {
	bytes, err := io.ReadAll(request.Body)
	put := digest.Digest(request.URL.Query().Get("digest"))
	if err != nil || digest.FromBytes(bytes) != put {
		http.Error(w, "the blob has another digest", http.StatusBadRequest)
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.blobs[put] = bytes
	w.WriteHeader(http.StatusCreated)
}

func answer(w http.ResponseWriter, found digest.Digest, bytes []byte) {
	w.Header().Set("Docker-Content-Digest", found.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(bytes)))
	_, _ = w.Write(bytes)
}

func refuse(w http.ResponseWriter, code string) {
	w.WriteHeader(http.StatusNotFound)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": code}}})
}

// snapshot is what the registry holds at one moment.
type snapshot struct {
	blobs     map[digest.Digest][]byte
	manifests map[digest.Digest]registryManifest
	tags      map[string]digest.Digest
}

func (r *registry) snapshot() snapshot {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return snapshot{maps.Clone(r.blobs), maps.Clone(r.manifests), maps.Clone(r.tags)}
}
