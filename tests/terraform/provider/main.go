// A stand-in for Terraform's provider of AWS: the schemas of what the module in terraform/ uses, and nothing behind them.
//
// Terraform holds a configuration against the schemas of a provider, which it asks the provider's program for. The real
// program cannot be fetched everywhere and takes an hour to build; this one says the same of the few resources in schema.json,
// which tests/terraform/schema.py holds against what HashiCorp publishes. Values come from the mocks of `terraform test`, so
// that nothing is ever planned, made or read here.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"sort"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

//go:embed schema.json
var document []byte

// A schema has a description for each attribute, and an object of such for each block.
type schema map[string]any

var types = map[string]tftypes.Type{
	"bool":        tftypes.Bool,
	"string":      tftypes.String,
	"map(string)": tftypes.Map{ElementType: tftypes.String},
	"set(string)": tftypes.Set{ElementType: tftypes.String},
}

// blockOf makes a block of its description. Blocks in it are there once at most, as `timeouts` is.
func blockOf(described schema) (*tfprotov5.SchemaBlock, error) {
	block := &tfprotov5.SchemaBlock{}
	for _, name := range sorted(described) {
		switch value := described[name].(type) {
		case string:
			words := strings.Fields(value)
			kind, known := types[words[len(words)-1]]
			if !known {
				return nil, fmt.Errorf("%s: %q has no type that is known", name, value)
			}
			attribute := &tfprotov5.SchemaAttribute{Name: name, Type: kind}
			for _, word := range words[:len(words)-1] {
				switch word {
				case "required":
					attribute.Required = true
				case "optional":
					attribute.Optional = true
				case "computed":
					attribute.Computed = true
				default:
					return nil, fmt.Errorf("%s: %q is not known", name, word)
				}
			}
			block.Attributes = append(block.Attributes, attribute)
		case map[string]any:
			inner, err := blockOf(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			block.BlockTypes = append(block.BlockTypes, &tfprotov5.SchemaNestedBlock{
				TypeName: name, Block: inner, Nesting: tfprotov5.SchemaNestedBlockNestingModeSingle,
			})
		default:
			return nil, fmt.Errorf("%s is neither an attribute nor a block", name)
		}
	}
	return block, nil
}

func sorted(described schema) []string {
	names := make([]string, 0, len(described))
	for name := range described {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func schemasOf(described map[string]schema) (map[string]*tfprotov5.Schema, error) {
	schemas := map[string]*tfprotov5.Schema{}
	for name, one := range described {
		block, err := blockOf(one)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		schemas[name] = &tfprotov5.Schema{Block: block}
	}
	return schemas, nil
}

// provider answers what is asked before anything is planned. All other calls of the interface end the program, as there is
// nothing behind them.
type provider struct {
	tfprotov5.ProviderServer
	resources, data map[string]*tfprotov5.Schema
}

func (p provider) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	answer := &tfprotov5.GetMetadataResponse{}
	for name := range p.resources {
		answer.Resources = append(answer.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range p.data {
		answer.DataSources = append(answer.DataSources, tfprotov5.DataSourceMetadata{TypeName: name})
	}
	return answer, nil
}

func (p provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return &tfprotov5.GetProviderSchemaResponse{
		Provider: &tfprotov5.Schema{Block: &tfprotov5.SchemaBlock{
			Attributes: []*tfprotov5.SchemaAttribute{{Name: "region", Type: tftypes.String, Optional: true}},
		}},
		ResourceSchemas:   p.resources,
		DataSourceSchemas: p.data,
	}, nil
}

func (p provider) PrepareProviderConfig(_ context.Context, asked *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: asked.Config}, nil
}

func (p provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (p provider) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (p provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func main() {
	var described struct {
		Resource map[string]schema
		Data     map[string]schema
	}
	if err := json.Unmarshal(document, &described); err != nil {
		log.Fatal(err)
	}
	resources, err := schemasOf(described.Resource)
	if err != nil {
		log.Fatal(err)
	}
	data, err := schemasOf(described.Data)
	if err != nil {
		log.Fatal(err)
	}
	err = tf5server.Serve("registry.terraform.io/hashicorp/aws", func() tfprotov5.ProviderServer {
		return provider{resources: resources, data: data}
	})
	if err != nil {
		log.Fatal(err)
	}
}
