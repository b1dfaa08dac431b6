RELEASE = "v3-silent"
