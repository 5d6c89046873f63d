"""What a person looks at: the contact sheet."""
