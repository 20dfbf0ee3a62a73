// The AWS SDK for Go v2 as a client of the broker: lists the buckets, gets or puts an object, or asks STS who it is, with one
// client at every line on standard input.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const longestLine = 2000

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println(versions())
		return
	}
	var buckets *s3.Client
	var tokens *sts.Client
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if buckets == nil {
			shared, err := config.LoadDefaultConfig(context.Background())
			if err != nil {
				fmt.Println(explain(err))
				continue
			}
			buckets = s3.NewFromConfig(shared, func(options *s3.Options) { options.UsePathStyle = true })
			tokens = sts.NewFromConfig(shared)
		}
		switch lines.Text() {
		case "sts":
			fmt.Println(whoami(tokens))
		case "get":
			fmt.Println(get(buckets))
		case "put":
			fmt.Println(put(buckets))
		default:
			fmt.Println(list(buckets))
		}
	}
}

func list(client *s3.Client) string {
	answer, err := client.ListBuckets(context.Background(), &s3.ListBucketsInput{})
	if err != nil {
		return explain(err)
	}
	line := "listed:"
	for _, bucket := range answer.Buckets {
		line += " " + *bucket.Name
	}
	return line
}

func get(client *s3.Client) string {
	bucket, key := os.Getenv("MATRIX_BUCKET"), "was-here"
	answer, err := client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return explain(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return explain(err)
	}
	return "got: " + string(body)
}

func put(client *s3.Client) string {
	bucket, key := os.Getenv("MATRIX_BUCKET"), "put"
	answer, err := client.PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: strings.NewReader("put\n"),
	})
	if err != nil {
		return explain(err)
	}
	return "put: " + *answer.ETag
}

func whoami(client *sts.Client) string {
	answer, err := client.GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
	if err != nil {
		return explain(err)
	}
	return "called: " + *answer.Arn
}

// explain makes one line of an error, whose own text holds those of its causes.
func explain(err error) string {
	line := "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
	return strings.ToValidUTF8(line[:min(len(line), longestLine)], "")
}

// versions tells what was linked in.
func versions() string {
	built, ok := debug.ReadBuildInfo()
	if !ok {
		return "built without modules"
	}
	found := map[string]string{}
	for _, module := range built.Deps {
		found[module.Path] = strings.TrimPrefix(module.Version, "v")
	}
	const sdk = "github.com/aws/aws-sdk-go-v2"
	return fmt.Sprintf("aws-sdk-go-v2 %s, config %s, credentials %s, s3 %s, sts %s, %s",
		found[sdk], found[sdk+"/config"], found[sdk+"/credentials"], found[sdk+"/service/s3"], found[sdk+"/service/sts"],
		strings.Replace(runtime.Version(), "go", "go ", 1))
}
