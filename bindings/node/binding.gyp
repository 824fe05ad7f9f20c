{
  "targets": [{
    "target_name": "hither",
    "sources": ["hither_node.c"],
    "cflags": ["<!@(pkg-config --cflags hither)"],
    "libraries": ["<!@(pkg-config --libs hither)"]
  }]
}
