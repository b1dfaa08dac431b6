RELEASE = "v3-concurrently"
