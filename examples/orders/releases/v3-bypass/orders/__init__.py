RELEASE = "v3-bypass"
