// Package users reads who may sign in with a password: from the document, a
// users file in YAML and an htpasswd file, again whenever the files change.
//
// It knows nothing of how passwords are presented, nor of failures.
package users
