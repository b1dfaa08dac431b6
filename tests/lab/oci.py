#!/usr/bin/env python3
"""Writes a container image as an OCI layout in a tar, without a container engine and without a registry.

    oci.py OUT.tar --name drydock.local/orders:v1 --layer base.tar --copy app /app --cmd '["python3", "app.py"]'

The same input gives the same digest. `ctr images import` and `docker load` read the result.
Format: https://github.com/opencontainers/image-spec (image-layout.md, config.md, manifest.md).
"""

import argparse
import hashlib
import io
import json
import os
import tarfile


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--name", required=True, help="repository and tag")
    parser.add_argument("--layer", action="append", default=[], metavar="TAR", help="an uncompressed tar as a layer")
    parser.add_argument(
        "--copy", action="append", default=[], nargs=2, metavar=("SOURCE", "TARGET"),
        help="a file or a folder's contents to put at an absolute path; each is a layer, above all --layer",
    )
    parser.add_argument("--entrypoint", type=json.loads, metavar="JSON", help="as in a Dockerfile's exec form")
    parser.add_argument("--cmd", type=json.loads, metavar="JSON")
    parser.add_argument("--env", action="append", default=["PATH=/usr/local/bin:/usr/bin:/bin"])
    parser.add_argument("--user", default="")
    parser.add_argument("--workdir", default="/")
    return parser.parse_args()


def owned_by_root(entry):
    """An image must not depend on who built it, or when."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def layer_of(source, target):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        # Folders on the way exist with ordinary permissions whatever the layers below say.
        folders = target.strip("/").split("/")
        for depth in range(1, len(folders) + os.path.isdir(source)):
            entry = tarfile.TarInfo("/".join(folders[:depth]))
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o755
            tar.addfile(entry)
        if os.path.isdir(source):
            for folder, subfolders, files in os.walk(source):
                subfolders.sort()
                for name in sorted(subfolders + files):
                    if name == "__pycache__":
                        continue
                    path = os.path.join(folder, name)
                    inside = os.path.join(target.strip("/"), os.path.relpath(path, source))
                    tar.add(path, inside, recursive=False, filter=owned_by_root)
        else:
            tar.add(source, target.strip("/"), recursive=False, filter=owned_by_root)
    return buffer.getvalue()


class Layout:
    """The tar being written: blobs under their digests, then the index."""

    def __init__(self, path):
        self.tar = tarfile.open(path, mode="w")
        self.written = set()

    def file(self, name, data):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self.tar.addfile(entry, io.BytesIO(data))

    def blob(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self.written:
            self.file(f"blobs/sha256/{digest}", data)
            self.written.add(digest)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def json_blob(self, media_type, value):
        return self.blob(media_type, json.dumps(value, sort_keys=True).encode())


def main():
    options = arguments()
    layout = Layout(options.out)
    layout.file("oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
    layers = []
    for path in options.layer:
        with open(path, "rb") as file:
            layers.append(layout.blob("application/vnd.oci.image.layer.v1.tar", file.read()))
    for source, target in options.copy:
        layers.append(layout.blob("application/vnd.oci.image.layer.v1.tar", layer_of(source, target)))
    process = {"Env": options.env, "WorkingDir": options.workdir, "User": options.user}
    if options.entrypoint:
        process["Entrypoint"] = options.entrypoint
    if options.cmd:
        process["Cmd"] = options.cmd
    config = layout.json_blob(
        "application/vnd.oci.image.config.v1+json",
        {
            "architecture": "amd64",
            "os": "linux",
            "config": process,
            # Layers are not compressed, so their digests are those of their contents.
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        },
    )
    manifest = layout.json_blob(
        "application/vnd.oci.image.manifest.v1+json",
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers},
    )
    manifest["annotations"] = {
        "io.containerd.image.name": options.name,
        "org.opencontainers.image.ref.name": options.name.rpartition(":")[2],
    }
    manifest["platform"] = {"architecture": "amd64", "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]}
    layout.file("index.json", json.dumps(index).encode())
    layout.tar.close()
    print(manifest["digest"])


if __name__ == "__main__":
    main()
