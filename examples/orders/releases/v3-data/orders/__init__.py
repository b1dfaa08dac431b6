RELEASE = "v3-data"
