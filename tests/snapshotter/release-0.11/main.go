// Command soci-snapshotter-grpc is soci-snapshotter 0.11.1 with the least that serves it on a unix socket. The module
// proxy has the library of that release, but not the module of its command.
//
// Usage:
//
//	soci-snapshotter-grpc -address SOCKET -config FILE -root FOLDER
//
// The flags and the log are those of the release's own command. It ends at SIGINT or SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	golog "log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/awslabs/soci-snapshotter/config"
	"github.com/awslabs/soci-snapshotter/fs"
	"github.com/awslabs/soci-snapshotter/metadata"
	"github.com/awslabs/soci-snapshotter/service"
	"github.com/awslabs/soci-snapshotter/ztoc"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
)

func main() {
	address := flag.String("address", "", "unix socket to listen on")
	configPath := flag.String("config", "", "configuration file")
	root := flag.String("root", "", "folder of the snapshotter's data")
	level := flag.String("log-level", "info", "the least level of the lines that are logged")
	flag.Parse()
	if err := serve(*address, *configPath, *root, *level); err != nil {
		fmt.Fprintln(os.Stderr, "soci-snapshotter-grpc:", err)
		os.Exit(1)
	}
}

func serve(address, configPath, root, level string) error {
	parsed, err := logrus.ParseLevel(level)
	if err != nil {
		return err
	}
	logrus.SetLevel(parsed)
	logrus.SetFormatter(&logrus.JSONFormatter{TimestampFormat: log.RFC3339NanoFixed})
	ctx := log.WithLogger(context.Background(), log.L)
	// go-fuse writes to the standard library's log.
	golog.SetOutput(log.G(ctx).WriterLevel(logrus.DebugLevel))

	settings, err := config.NewConfigFromToml(configPath)
	if err != nil {
		return err
	}
	db, err := bolt.Open(filepath.Join(root, "metadata.db"), 0o600, &bolt.Options{NoFreelistSync: true})
	if err != nil {
		return err
	}
	store := func(reader *io.SectionReader, toc ztoc.TOC, opts ...metadata.Option) (metadata.Reader, error) {
		return metadata.NewReader(db, reader, toc, opts...)
	}
	snapshotter, err := service.NewSociSnapshotterService(ctx, root, &settings.ServiceConfig,
		service.WithFilesystemOptions(fs.WithMetadataStore(store)))
	if err != nil {
		return err
	}

	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(inNamespace))
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	stop, cancel := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	go func() {
		<-stop.Done()
		server.Stop()
	}()
	if err := server.Serve(listener); err != nil {
		return err
	}
	return snapshotter.Close()
}

// inNamespace passes containerd's namespace on to the clients that the snapshotter itself makes.
func inNamespace(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if namespace, ok := namespaces.Namespace(ctx); ok {
		ctx = namespaces.WithNamespace(ctx, namespace)
	}
	return handler(ctx, request)
}
